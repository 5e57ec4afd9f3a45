// Bench compares the checker's speed with a bare go test, in one run and as
// ratios of medians, because absolute times say more about the machine.
//
// It works in two copies of the workshop, one that the checker watches and
// one that go test runs in, so that neither sees the other's edits. Caches
// are warm: every command has run once before it is timed.
package main

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/tools/txtar"

	"pitstop/checker/lesson"
	"pitstop/solutions"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	b := bench{ctx: ctx}
	flag.IntVar(&b.rounds, "rounds", 7, "timed rounds of each command; medians are shown")
	flag.StringVar(&b.checker, "checker", "bin/checker", "the checker to measure")
	flag.Parse()
	err := b.run(flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	ctx     context.Context
	rounds  int
	checker string
	watched string // the copy that the checker works in
	bare    string // the copy that go test works in
	edits   int
}

func (b *bench) run(args []string) error {
	var err error
	if b.checker, err = filepath.Abs(b.checker); err != nil {
		return err
	}
	archive, err := fs.ReadFile(solutions.Tree(), lesson.PristineFile)
	if err != nil {
		return err
	}
	p, err := lesson.ParsePristine(archive)
	if err != nil {
		return err
	}
	lessons := p.Lessons
	if len(args) > 0 {
		lessons = nil
		for _, arg := range args {
			l, err := lesson.Find(p.Lessons, arg)
			if err != nil {
				return err
			}
			lessons = append(lessons, l)
		}
	}
	tmp, err := os.MkdirTemp("", "pitstop-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if tmp, err = filepath.EvalSymlinks(tmp); err != nil {
		return err
	}
	b.watched, b.bare = filepath.Join(tmp, "watched"), filepath.Join(tmp, "bare")
	for _, dir := range []string{b.watched, b.bare} {
		for _, f := range txtar.Parse(archive).Files {
			if err := write(filepath.Join(dir, filepath.FromSlash(f.Name)), f.Data); err != nil {
				return err
			}
		}
	}
	fmt.Printf("%s/%s, %d CPUs, %s; medians of %d rounds, seconds\n\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), b.rounds)
	fmt.Println("one-line edit → verdict, in watch mode, against go test -race -count=1 of the same lesson")
	fmt.Println("(bare: as typed; quiet: with GORACE=atexit_sleep_ms=0, without the second that -race sleeps at exit)")
	fmt.Printf("  %-24s %-9s %7s %7s %7s   %6s %6s\n", "lesson", "state", "watch", "bare", "quiet", "ratio", "quiet")
	for _, l := range lessons {
		for _, state := range []string{"unsolved", "reference"} {
			if err := b.edit(l, state); err != nil {
				return fmt.Errorf("%s, %s: %w", l.Slug, state, err)
			}
		}
	}
	fmt.Println("\nwhere the time of a verdict goes (each step alone)")
	fmt.Printf("  %-24s %7s %8s %7s %7s\n", "lesson, unsolved", "graph", "compile", "link", "run")
	for _, l := range lessons {
		if err := b.steps(l); err != nil {
			return fmt.Errorf("%s: %w", l.Slug, err)
		}
	}
	fmt.Println("\nchecker check of all, against go test -race -count=1 of each in turn")
	return b.all(lessons)
}

// edit measures one lesson in one state.
func (b *bench) edit(l *lesson.Lesson, state string) error {
	files, err := b.set(l, state)
	if err != nil {
		return err
	}
	w, err := startWatch(b.ctx, b.checker, b.watched, l)
	if err != nil {
		return err
	}
	defer w.stop()
	if err := w.verdict(); err != nil {
		return err
	}
	var watch, bare, quiet, ratio, ratioQuiet []float64
	for i := range b.rounds + 1 {
		tw, err := timed(func() error {
			if err := b.change(b.watched, l, files); err != nil {
				return err
			}
			return w.verdict()
		})
		if err != nil {
			return err
		}
		tb, err := b.goTest(l, files, "")
		if err != nil {
			return err
		}
		tq, err := b.goTest(l, files, "GORACE=atexit_sleep_ms=0")
		if err != nil {
			return err
		}
		if i == 0 {
			continue // warms up
		}
		watch, bare, quiet = append(watch, tw), append(bare, tb), append(quiet, tq)
		ratio, ratioQuiet = append(ratio, tw/tb), append(ratioQuiet, tw/tq)
	}
	fmt.Printf("  %-24s %-9s %7.2f %7.2f %7.2f   %6.2f %6.2f\n", l.Slug, state, median(watch), median(bare), median(quiet), median(ratio), median(ratioQuiet))
	return nil
}

// change makes a one-line edit that changes the program, as an editor saves
// it: written beside and renamed.
func (b *bench) change(root string, l *lesson.Lesson, files map[string][]byte) error {
	b.edits++
	name := first(files)
	line := fmt.Sprintf("\nfunc pitstopEdit() int { return %d }\n", b.edits)
	if filepath.Ext(name) != ".go" {
		line = fmt.Sprintf("\n# edit %d\n", b.edits)
	}
	to := filepath.Join(root, filepath.FromSlash(l.Folder()), filepath.FromSlash(name))
	beside := filepath.Join(root, "edit.tmp")
	if err := os.WriteFile(beside, append(slices.Clone(files[name]), line...), 0o644); err != nil {
		return err
	}
	return os.Rename(beside, to)
}

func (b *bench) goTest(l *lesson.Lesson, files map[string][]byte, env ...string) (float64, error) {
	if err := b.change(b.bare, l, files); err != nil {
		return 0, err
	}
	return timed(func() error { return b.command(b.bare, env, "go", "test", "-race", "-count=1", "./"+l.Folder()) })
}

// command runs to its end; a test that fails is a result, not an error.
func (b *bench) command(dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(b.ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	err := cmd.Run()
	if exit := cmd.ProcessState; exit != nil && exit.ExitCode() == 1 {
		return nil
	}
	return err
}

// steps measures the parts of a verdict of the unsolved lesson, each alone.
func (b *bench) steps(l *lesson.Lesson) error {
	files := l.Unsolve()
	if err := lay(filepath.Join(b.bare, filepath.FromSlash(l.Folder())), l, files); err != nil {
		return err
	}
	race := []string{"-race"}
	if !slices.ContainsFunc(l.Checks, func(c lesson.Check) bool { return slices.Contains(c.Profiles, "race") }) {
		race = nil
	}
	binary := filepath.Join(b.bare, "bench.test")
	build := append(append([]string{"test", "-c", "-vet=off", "-ldflags=-s -w", "-o", binary}, race...), "./"+l.Folder())
	var graph, compile, link, run []float64
	for i := range b.rounds + 1 {
		tg, err := timed(func() error {
			return b.command(b.bare, nil, "go", append(append([]string{"list", "-deps", "-test"}, race...), "./"+l.Folder())...)
		})
		if err != nil {
			return err
		}
		if err := b.change(b.bare, l, files); err != nil {
			return err
		}
		full, err := timed(func() error { return b.command(b.bare, nil, "go", build...) })
		if err != nil {
			return err
		}
		os.Remove(binary)
		relink, err := timed(func() error { return b.command(b.bare, nil, "go", build...) })
		if err != nil {
			return err
		}
		tr, err := timed(func() error { return b.command(b.bare, []string{"GORACE=atexit_sleep_ms=0"}, binary) })
		if err != nil {
			return err
		}
		if i > 0 {
			graph, compile, link, run = append(graph, tg), append(compile, full-relink), append(link, relink-tg), append(run, tr)
		}
	}
	fmt.Printf("  %-24s %7.2f %8.2f %7.2f %7.2f\n", l.Slug, median(graph), max(0, median(compile)), max(0, median(link)), median(run))
	return nil
}

func (b *bench) all(lessons []*lesson.Lesson) error {
	for _, state := range []string{"unsolved", "reference"} {
		for _, l := range lessons {
			if _, err := b.set(l, state); err != nil {
				return err
			}
		}
		args := []string{"check"}
		for _, l := range lessons {
			args = append(args, l.Slug)
		}
		var check, bare, quiet, ratio, ratioQuiet []float64
		for i := range b.rounds + 1 {
			tc, err := timed(func() error { return b.command(b.watched, nil, b.checker, args...) })
			if err != nil {
				return err
			}
			each := func(env ...string) (float64, error) {
				return timed(func() error {
					for _, l := range lessons {
						if err := b.command(b.bare, env, "go", "test", "-race", "-count=1", "./"+l.Folder()); err != nil {
							return err
						}
					}
					return nil
				})
			}
			tb, err := each()
			if err != nil {
				return err
			}
			tq, err := each("GORACE=atexit_sleep_ms=0")
			if err != nil {
				return err
			}
			if i > 0 {
				check, bare, quiet = append(check, tc), append(bare, tb), append(quiet, tq)
				ratio, ratioQuiet = append(ratio, tc/tb), append(ratioQuiet, tc/tq)
			}
		}
		fmt.Printf("  %-24s %-9s %7.2f %7.2f %7.2f   %6.2f %6.2f\n", fmt.Sprintf("%d lessons", len(lessons)), state, median(check), median(bare), median(quiet), median(ratio), median(ratioQuiet))
	}
	return nil
}

// set puts a lesson into a state, unsolved or reference, in both copies, and
// returns its editable files.
func (b *bench) set(l *lesson.Lesson, state string) (map[string][]byte, error) {
	files := l.Unsolve()
	if state == "reference" {
		s, err := lesson.LoadSolution(solutions.Tree(), l)
		if err != nil {
			return nil, err
		}
		files = s.Reference
	}
	for _, dir := range []string{b.watched, b.bare} {
		if err := lay(filepath.Join(dir, filepath.FromSlash(l.Folder())), l, files); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// lay makes a lesson's folder hold files as its editable ones, and no others.
func lay(dir string, l *lesson.Lesson, files map[string][]byte) error {
	for name := range l.Unsolve() {
		if err := os.Remove(filepath.Join(dir, filepath.FromSlash(name))); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	for name, b := range files {
		if err := write(filepath.Join(dir, filepath.FromSlash(name)), b); err != nil {
			return err
		}
	}
	return nil
}

func first(files map[string][]byte) string {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names[0]
}

func write(name string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o644)
}

func timed(f func() error) (float64, error) {
	start := time.Now()
	err := f()
	return time.Since(start).Seconds(), err
}

func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
