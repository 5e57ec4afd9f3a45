// Package grade is the engine: a candidate goes in, events and one verdict
// come out. It decides the order of grading (policy, checks, review) and what
// is the learner's fault and what is the machine's; how to grade is the kinds'.
package grade

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"pitstop/checker/candidate"
	"pitstop/checker/check"
	"pitstop/checker/gotool"
	"pitstop/checker/lesson"
	"pitstop/checker/policy"
	"pitstop/checker/verdict"
)

// Engine grades candidates of one workshop.
type Engine struct {
	Root  string // the workshop's folder, without symbolic links
	Tmp   string // a folder of this process's own, for builds and runs
	Tool  *gotool.Toolchain
	Kinds check.Kinds
	Base  map[string][]byte // what a build reads besides the lesson, pristine
	Joint bool              // build the visible and the review tests as one: for many mends, not for one learner

	opened   atomic.Int64
	binaries check.Shared
	once     sync.Once
}

func (e *Engine) shared() *check.Shared {
	e.once.Do(func() { e.binaries.Dir = filepath.Join(e.Tmp, "shared") })
	return &e.binaries
}

// Sink takes events as they happen. It must not block for long.
type Sink func(verdict.Event)

// Grading is one candidate with its binaries, which are built at the first
// run and kept for the next.
type Grading struct {
	engine *Engine
	cand   *candidate.Candidate
	env    *check.Env
}

// Open prepares the grading of a candidate by its lesson's tests and by what
// is hidden. Close it to take its files away.
func (e *Engine) Open(c *candidate.Candidate, h lesson.Hidden) *Grading {
	tmp := filepath.Join(e.Tmp, fmt.Sprintf("%s-%d", c.Lesson.Slug, e.opened.Add(1)))
	return &Grading{engine: e, cand: c, env: &check.Env{
		Root: e.Root, Tmp: tmp, Candidate: c, Base: e.Base, Review: h.Review, Mutants: h.Mutants,
		Tool: e.Tool, Shared: e.shared(), Joint: e.Joint,
	}}
}

// Close takes away what the grading built, and what the tests left.
func (g *Grading) Close() error {
	err := os.RemoveAll(g.env.Tmp)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	// A folder that a killed test had closed to itself.
	_ = filepath.WalkDir(g.env.Tmp, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(p, 0o700)
		}
		return nil
	})
	return os.RemoveAll(g.env.Tmp)
}

// slow is when a build is worth a word: the first one on a machine compiles
// the standard library for the race detector.
const slow = 4 * time.Second

// Run grades the candidate once. The events it sends end with the verdict
// that it returns.
func (g *Grading) Run(ctx context.Context, sink Sink) verdict.Verdict {
	start := time.Now()
	slug := g.cand.Lesson.Slug
	var mu sync.Mutex // one event at a time, and none after the verdict
	over := false
	send := func(t verdict.Type, format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			sink(verdict.Event{Type: t, Lesson: slug, Message: fmt.Sprintf(format, args...)})
		}
	}
	send(verdict.Start, "%s", g.cand.Lesson.Title)
	for _, w := range g.cand.Warnings {
		send(verdict.Warning, "%s", w)
	}
	var word *time.Timer
	g.env.Step = func(format string, args ...any) {
		if word != nil {
			word.Stop() // one step further: what was slow is done
		}
		send(verdict.Step, format, args...)
		word = time.AfterFunc(slow, func() {
			send(verdict.Step, "still at it; the first build on a machine takes a minute or two, because the standard library is compiled for the race detector, once")
		})
	}
	v := g.grade(ctx)
	if word != nil {
		word.Stop()
	}
	v.Seconds = float64(time.Since(start).Round(time.Millisecond)) / float64(time.Second)
	if v.Findings == nil {
		v.Findings = []verdict.Finding{}
	}
	if v.Evidence == nil {
		v.Evidence = []verdict.Evidence{}
	}
	mu.Lock()
	defer mu.Unlock()
	over = true
	sink(verdict.Event{Type: verdict.Graded, Lesson: slug, Verdict: &v})
	return v
}

func (g *Grading) grade(ctx context.Context) verdict.Verdict {
	found := append([]verdict.Finding(nil), g.cand.Problems...)
	for _, c := range g.cand.All() {
		found = append(found, policy.Read(c)...)
	}
	if len(found) > 0 {
		return verdict.Verdict{Outcome: verdict.Fail, Findings: found}
	}
	if ctx.Err() != nil {
		return failed(context.Canceled)
	}
	if err := os.MkdirAll(g.env.Tmp, 0o700); err != nil {
		return failed(err)
	}
	v := verdict.Verdict{Outcome: verdict.Pass}
	skip := ""
	for _, c := range g.cand.Lesson.Checks {
		kind, err := g.engine.Kinds.Find(c)
		if err != nil {
			return failed(err)
		}
		res, err := kind.Run(ctx, g.env, c)
		if ctx.Err() != nil {
			return failed(context.Canceled) // whatever broke, this is why
		}
		if err != nil {
			return failed(err)
		}
		v.Findings = append(v.Findings, res.Findings...)
		v.Evidence = append(v.Evidence, res.Evidence...)
		if res.Skip != "" {
			skip = res.Skip
		}
		if len(v.Findings) > 0 {
			v.Outcome = verdict.Fail
			return v
		}
	}
	if skip != "" {
		v.Outcome = verdict.Skip
		v.Findings = []verdict.Finding{{Code: "skip.race", Message: "all that can be looked at here holds, but not everything can: " + skip}}
	}
	return v
}

// failed makes a verdict of an error of the machine's or the grader's.
func failed(err error) verdict.Verdict {
	code, message := Reason(err)
	return verdict.Verdict{Outcome: verdict.Error, Findings: []verdict.Finding{{Code: code, Message: message}}}
}

// Reason says in one sentence, with the next step, why the grader could not grade.
func Reason(err error) (code, message string) {
	text := err.Error()
	build, isBuild := errors.AsType[*gotool.BuildError](err)
	if isBuild {
		text = build.Output
	}
	has := func(s string) bool { return strings.Contains(text, s) }
	switch {
	case errors.Is(err, context.Canceled):
		return "grader.interrupted", "grading was interrupted"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), has("no space left on device"), has("disk quota exceeded"):
		return "grader.disk", fmt.Sprintf("no space left on the disk; free some, or set TMPDIR (now %s) and GOCACHE to folders on another disk, and run it again", os.TempDir())
	case errors.Is(err, syscall.EROFS), has("read-only file system"):
		return "grader.readonly", fmt.Sprintf("a folder that the build writes to is read-only; set TMPDIR (now %s) and GOCACHE to folders of your own", os.TempDir())
	case isBuild && (has("dial tcp") || has("no such host") || has("module lookup disabled") || has("missing go.sum entry") || has("i/o timeout")):
		return "grader.modules", "a Go module that the lessons need is not on this machine and could not be fetched; run `go mod download` once with a network: " + lastLine(text)
	case isBuild && has("requires go >="):
		return "grader.toolchain", "this Go is too old for the workshop; `bin/checker doctor` says what to install: " + lastLine(text)
	case isBuild && has("permission denied"):
		return "grader.permission", "the build may not write where it must; `bin/checker doctor` says where: " + lastLine(text)
	case isBuild:
		return "grader.build", "the build failed for a reason that is not in your files; run `bin/checker doctor`, and report this if it finds nothing: " + strings.TrimSpace(text)
	case errors.Is(err, syscall.EACCES):
		return "grader.permission", fmt.Sprintf("%v; the folder for temporary files (%s) must allow programs to run: set TMPDIR to one that does", err, os.TempDir())
	default:
		return "grader.error", text
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
