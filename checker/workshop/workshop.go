// Package workshop ties together what one checkout of the workshop is: its
// root, the pristine lessons, the solutions, and the learner's progress.
package workshop

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"pitstop/checker/candidate"
	"pitstop/checker/lesson"
	"pitstop/checker/progress"
)

// Workshop is one checkout.
type Workshop struct {
	Root      string // without symbolic links
	Pristine  *lesson.Pristine
	Solutions fs.FS // rooted where "solutions" is
	Progress  *progress.Store
}

// Find looks for the workshop's root from dir upwards.
func Find(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		b, err := os.ReadFile(filepath.Join(d, "go.mod"))
		if err == nil && isModule(string(b)) {
			return filepath.EvalSymlinks(d)
		}
		if filepath.Dir(d) == d {
			return "", fmt.Errorf("%s is not in a workshop folder: no go.mod of module pitstop there or above; cd into your clone and run it again", dir)
		}
	}
}

func isModule(gomod string) bool {
	for line := range strings.Lines(gomod) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "module" {
			return f[1] == "pitstop"
		}
	}
	return false
}

// Candidate reads the learner's folder of a lesson, and those of the lessons
// that it is built from.
func (w *Workshop) Candidate(l *lesson.Lesson) (*candidate.Candidate, error) {
	c, err := candidate.Read(w.Root, l)
	if err != nil {
		return nil, err
	}
	parts, err := l.Parts(w.Pristine.Lessons)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		part, err := candidate.Read(w.Root, p)
		if err != nil {
			return nil, err
		}
		c.Join(part)
	}
	return c, nil
}

// Solution reads what the authors keep about a lesson.
func (w *Workshop) Solution(l *lesson.Lesson) (*lesson.Solution, error) {
	return lesson.LoadSolution(w.Solutions, l)
}

// Hidden reads what grades a lesson's candidates besides its visible tests.
func (w *Workshop) Hidden(l *lesson.Lesson) (lesson.Hidden, error) {
	return lesson.LoadHidden(w.Solutions, l)
}

// ErrBusy is another checker that grades in the same workshop for too long.
var ErrBusy = errors.New("another checker is grading here")

// busyWait is how long a second checker waits for the first: all lessons on a
// slow machine.
const busyWait = 5 * time.Minute

// Lock makes this the only checker that grades in the workshop or changes it,
// so that two do not disturb each other's measurements. It waits for another,
// and calls waiting once if it has to. A workshop that cannot be written to is
// not locked: nothing is kept there that two could spoil.
func (w *Workshop) Lock(ctx context.Context, waiting func(who string)) (unlock func(), err error) {
	p := filepath.Join(w.Root, progress.Dir, "grading.lock")
	l := flock.New(p)
	ok, err := l.TryLock()
	if err != nil {
		return func() {}, nil
	}
	if !ok {
		who := "another checker"
		if b, err := os.ReadFile(p); err == nil && len(b) > 0 {
			who += " (process " + strings.TrimSpace(string(b)) + ")"
		}
		waiting(who)
		ctx, cancel := context.WithTimeout(ctx, busyWait)
		defer cancel()
		if _, err := l.TryLockContext(ctx, 100*time.Millisecond); err != nil {
			return nil, fmt.Errorf("%w: %s; end it, or wait for it, and run this again", ErrBusy, who)
		}
	}
	_ = os.WriteFile(p, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644) // tells the other who waits
	return func() { l.Unlock() }, nil
}
