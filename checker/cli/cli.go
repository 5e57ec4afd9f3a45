// Package cli is the checker's command line: flags in, text or JSON lines and
// an exit status out.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"pitstop/checker/check"
	"pitstop/checker/check/analysis"
	"pitstop/checker/check/gotest"
	"pitstop/checker/check/mutants"
	"pitstop/checker/gotool"
	"pitstop/checker/grade"
	"pitstop/checker/lesson"
	"pitstop/checker/progress"
	"pitstop/checker/workshop"
	"pitstop/solutions"
)

// Exit statuses. Scripts rely on them.
const (
	statusPass  = 0 // every graded lesson passes
	statusFail  = 1 // some fail
	statusUsage = 2 // the command line is wrong
	statusError = 3 // could not grade
)

// kinds is the table of the kinds of check.
var kinds = check.Kinds{"test": gotest.Kind{}, "mutants": mutants.Kind{}, "analysis": analysis.Kind{}}

// exit carries a status through cobra. Its error, if any, is what is printed.
type exit struct {
	status int
	err    error
}

func (e exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}
func (e exit) Unwrap() error { return e.err }

func usage(format string, args ...any) error { return exit{statusUsage, fmt.Errorf(format, args...)} }

// app is what the commands share.
type app struct {
	in       io.Reader
	out, err io.Writer // colours are taken away where they cannot be shown
	rawIn    *os.File
	rawOut   *os.File
	terminal bool // both ends are a person's
}

// Main runs the command line and returns the exit status.
func Main(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	a := &app{in: in}
	a.rawIn, _ = in.(*os.File)
	a.rawOut, _ = out.(*os.File)
	a.terminal = isTerminal(a.rawIn) && isTerminal(a.rawOut) && os.Getenv("TERM") != "dumb"
	a.out = colorprofile.NewWriter(out, os.Environ())
	a.err = colorprofile.NewWriter(errOut, os.Environ())
	root := a.root()
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return statusPass
	}
	e, ok := errors.AsType[exit](err)
	if !ok {
		e = exit{statusUsage, err} // cobra's own: an unknown flag or command
		if errors.Is(err, context.Canceled) {
			e.status = statusError
		}
	}
	if e.err != nil {
		fmt.Fprintf(a.err, "checker: %v\n", e.err)
		if e.status == statusUsage && !strings.Contains(e.err.Error(), "`") {
			fmt.Fprintln(a.err, "run `bin/checker help` to see the commands")
		}
	}
	return e.status
}

func isTerminal(f *os.File) bool { return f != nil && term.IsTerminal(f.Fd()) }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "checker",
		Short: "Grade the lessons of the Pitstop workshop",
		Long: "Pitstop is a workshop on the bugs that take Go microservices down on Kubernetes.\n" +
			"You mend a lesson in lessons/NN_name; the checker grades what your mend does.\n\n" +
			"LESSON is a number (3 or 03), a name, or a folder.",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.terminal {
				return a.watch(cmd.Context(), "")
			}
			return cmd.Help()
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{
		Use: "help [COMMAND]", Short: "Help about a command", Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usage("no command %q", strings.Join(args, " "))
			}
			return c.Help()
		},
	})
	root.AddCommand(a.listCmd(), a.checkCmd(), a.watchCmd(), a.hintCmd(), a.diffCmd(), a.resetCmd(), a.demoCmd(),
		a.clusterCmd(), a.verifyCmd(), a.newCmd(), a.doctorCmd(), a.pristineCmd())
	return root
}

// open finds the workshop and reads its lessons. Authors' commands take the
// pristine copy and the solutions from the tree, all others from the binary.
func (a *app) open(authors bool) (*workshop.Workshop, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return nil, exit{statusError, err}
	}
	root, err := workshop.Find(cwd)
	if err != nil {
		return nil, exit{statusError, err}
	}
	w := &workshop.Workshop{Root: root, Solutions: solutions.Tree(), Progress: progress.Open(root)}
	if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(lesson.PristineFile))); authors && err == nil {
		w.Solutions = os.DirFS(root)
	}
	archive, err := fs.ReadFile(w.Solutions, lesson.PristineFile)
	if err != nil {
		return nil, exit{statusError, err}
	}
	w.Pristine, err = lesson.ParsePristine(archive)
	if err == nil {
		err = kinds.Validate(w.Pristine.Lessons)
	}
	if err != nil {
		return nil, exit{statusError, fmt.Errorf("%w; authors: `make pristine` writes it anew", err)}
	}
	return w, nil
}

// engine makes the grading engine and the folder it works in. The returned
// function takes the folder away.
func (a *app) engine(ctx context.Context, w *workshop.Workshop) (*grade.Engine, func(), error) {
	if runtime.GOOS == "windows" {
		return nil, nil, exit{statusError, errors.New("on Windows the workshop runs inside WSL; open a WSL shell, clone it there, and run `make check`")}
	}
	sweepTmp()
	tmp, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", tmpPrefix, os.Getpid()))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, exit{statusError, fmt.Errorf("the folder for temporary files, %s, is not there; set TMPDIR to one that is", os.TempDir())}
		}
		_, message := grade.Reason(err)
		return nil, nil, exit{statusError, errors.New(message)}
	}
	tool, err := gotool.Find(ctx, w.Root)
	if err != nil {
		os.RemoveAll(tmp)
		return nil, nil, exit{statusError, err}
	}
	if tmp, err = filepath.EvalSymlinks(tmp); err != nil {
		return nil, nil, exit{statusError, err}
	}
	e := &grade.Engine{Root: w.Root, Tmp: tmp, Tool: tool, Kinds: kinds, Base: w.Pristine.Base}
	return e, func() { os.RemoveAll(tmp) }, nil
}

const tmpPrefix = "pitstop-"

// sweepTmp takes away what a checker that was killed could not.
func sweepTmp() {
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		return
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), tmpPrefix)
		var pid int
		if _, err := fmt.Sscanf(rest, "%d-", &pid); !ok || err != nil || pid == os.Getpid() {
			continue
		}
		if p, err := os.FindProcess(pid); err == nil && p.Signal(syscall.Signal(0)) == nil {
			continue
		}
		os.RemoveAll(filepath.Join(os.TempDir(), e.Name()))
	}
}

// pick resolves what a person typed; nothing typed is every lesson.
func pick(w *workshop.Workshop, args []string) ([]*lesson.Lesson, error) {
	if len(args) == 0 {
		return w.Pristine.Lessons, nil
	}
	var list []*lesson.Lesson
	seen := map[string]bool{}
	for _, arg := range args {
		l, err := lesson.Find(w.Pristine.Lessons, arg)
		if err != nil {
			return nil, exit{statusUsage, err}
		}
		if !seen[l.Slug] {
			list = append(list, l)
		}
		seen[l.Slug] = true
	}
	return list, nil
}

// one resolves the lesson that a command is about. With nothing typed it is
// the one whose folder this is, and else the first that has not passed.
func (a *app) one(w *workshop.Workshop, args []string) (*lesson.Lesson, error) {
	if len(args) > 0 {
		list, err := pick(w, args[:1])
		if err != nil {
			return nil, err
		}
		return list[0], nil
	}
	if cwd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(w.Root, cwd); err == nil {
			if parts := strings.Split(filepath.ToSlash(rel), "/"); len(parts) >= 2 && parts[0] == "lessons" {
				if l, err := lesson.Find(w.Pristine.Lessons, path.Base(parts[1])); err == nil {
					return l, nil
				}
			}
		}
	}
	for _, l := range w.Pristine.Lessons {
		if state, _ := stateOf(w, l); state != "pass" {
			return l, nil
		}
	}
	if len(w.Pristine.Lessons) == 0 {
		return nil, exit{statusError, errors.New("the workshop has no lessons; authors: `make pristine`")}
	}
	return w.Pristine.Lessons[0], nil
}

// openOne opens the workshop for a command that is about one lesson.
func (a *app) openOne(args []string) (*workshop.Workshop, *lesson.Lesson, error) {
	w, err := a.open(false)
	if err != nil {
		return nil, nil, err
	}
	l, err := a.one(w, args)
	return w, l, err
}

// lock makes this the only checker at work here, and says if it has to wait.
func (a *app) lock(ctx context.Context, w *workshop.Workshop) (unlock func(), err error) {
	unlock, err = w.Lock(ctx, func(who string) { a.warn("%s is grading here; waiting for it to finish", who) })
	if err != nil {
		return nil, exit{statusError, err}
	}
	return unlock, nil
}

// stateOf says where the learner stands: pass, fail, changed (since it was
// graded), or new.
func stateOf(w *workshop.Workshop, l *lesson.Lesson) (string, progress.Entry) {
	e := w.Progress.All()[l.Slug]
	c, err := w.Candidate(l)
	if err != nil || len(c.Problems) > 0 {
		return "changed", e
	}
	switch sum := c.Sum(); {
	case e.HasPassed(sum):
		return "pass", e
	case e.Sum == "" || c.Untouched():
		return "new", e
	case e.Sum == sum:
		return string(e.Outcome), e
	default:
		return "changed", e
	}
}

func (a *app) warn(format string, args ...any) {
	fmt.Fprintf(a.err, "warning: "+format+"\n", args...)
}
