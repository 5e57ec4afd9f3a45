// Package check is what all kinds of check share: the interface, and what a
// check is given to work with. A kind is code, in a folder of its own; an
// instance of it is a few lines of a lesson's YAML.
package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"pitstop/checker/candidate"
	"pitstop/checker/gotool"
	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

// Kind is one way to grade.
type Kind interface {
	// Validate says what is wrong with a check as a lesson states it.
	Validate(lesson.Check) error
	// Run grades a candidate. What the learner can mend is a finding; an
	// error is the machine's or the grader's.
	Run(context.Context, *Env, lesson.Check) (Result, error)
}

// Kinds is the table of kinds, by the name that a lesson uses.
type Kinds map[string]Kind

// Find returns the kind that a check names.
func (k Kinds) Find(c lesson.Check) (Kind, error) {
	if kind, ok := k[c.Kind]; ok {
		return kind, nil
	}
	return nil, fmt.Errorf("unknown kind of check %q (known: %s)", c.Kind, strings.Join(slices.Sorted(maps.Keys(k)), ", "))
}

// Validate holds every check of every lesson to its kind's form.
func (k Kinds) Validate(all []*lesson.Lesson) error {
	for _, l := range all {
		for i, c := range l.Checks {
			kind, err := k.Find(c)
			if err == nil {
				err = kind.Validate(c)
			}
			if err != nil {
				return fmt.Errorf("lesson %s: check %d: %w", l.Slug, i+1, err)
			}
		}
	}
	return nil
}

// Result is what one check found.
type Result struct {
	Findings []verdict.Finding
	Evidence []verdict.Evidence
	Skip     string // what could not be looked at here, and what to install
}

// Env is what a check works with: one candidate, and the means to build and
// run it. Binaries are built once, however often the check is run.
type Env struct {
	Root      string // the workshop
	Tmp       string // a folder of this candidate's own
	Candidate *candidate.Candidate
	Base      map[string][]byte // what the build reads besides the lesson, pristine
	Review    []byte            // the review tests; nil where there are none
	Mutants   map[string][]byte // what a test of the learner's is tried on, by file name
	Tool      *gotool.Toolchain
	Joint     bool                             // one binary for all tests: less to build, but the visible ones end later
	Beside    bool                             // run the review tests beside the visible ones: they will most likely be asked for
	Shared    *Shared                          // test binaries that candidates have in common; may be nil
	Step      func(format string, args ...any) // says what is being done

	binaries map[string]*binary
	runs     int
	overlays int
	mu       sync.Mutex
}

// ReviewName is the name of the review tests within the lesson's folder
// while it is graded.
const ReviewName = "review_test.go"

// Tests says which tests a binary holds.
type Tests int

const (
	Visible Tests = iota // the lesson's own: the sooner they fail, the sooner a learner knows
	All                  // the review tests as well
	Learner              // the learner's own, with the mutants in the place of what they test
)

// binary is one that is made once. A build that was interrupted is made anew.
type binary struct {
	mu   sync.Mutex
	done bool
	path string
	err  error
}

// Binary builds a test binary and returns its path. It may be called from
// several goroutines.
func (e *Env) Binary(ctx context.Context, tests Tests, race bool) (string, error) {
	if tests != Learner && (e.Joint || e.Review == nil) {
		tests = All
	}
	if tests != Learner && e.Shared != nil && e.Candidate.EditsData() {
		return e.Shared.binary(ctx, e, race)
	}
	name := map[Tests]string{Visible: "visible", All: "all", Learner: "mutants"}[tests] + "." + profile(race)
	e.mu.Lock()
	if e.binaries == nil {
		e.binaries = map[string]*binary{}
	}
	b := e.binaries[name]
	if b == nil {
		b = &binary{}
		e.binaries[name] = b
	}
	e.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.done {
		b.path, b.err = e.build(ctx, tests, race, filepath.Join(e.Tmp, name+".test"))
		b.done = ctx.Err() == nil
	}
	return b.path, b.err
}

func profile(race bool) string {
	if race {
		return "race"
	}
	return "perf"
}

// attempts is how often a build is made anew because files came into the
// lesson's folder meanwhile: more than an editor needs to save.
const attempts = 5

func (e *Env) build(ctx context.Context, tests Tests, race bool, out string) (string, error) {
	for range attempts {
		overlay, err := e.writeOverlay(tests)
		if err != nil {
			return "", err
		}
		failed := e.Tool.Test(ctx, gotool.Build{
			Root: e.Root, Package: "./" + e.Candidate.Lesson.Folder(), Overlay: overlay, Out: out, Race: race,
		})
		strayed, err := e.Candidate.Strayed(e.Root, overlay, e.Base)
		if err != nil || !strayed || ctx.Err() != nil {
			return out, errors.Join(err, failed)
		}
	}
	return "", fmt.Errorf("files came into %s during each of %d builds; let what writes them finish, and run this again", e.Candidate.Lesson.Folder(), attempts)
}

func (e *Env) writeOverlay(tests Tests) (string, error) {
	extra := map[string][]byte{}
	if tests == Learner {
		for name, b := range e.Mutants {
			if path.Ext(name) == ".go" {
				extra[name] = b
			}
		}
	}
	if e.Review != nil && tests == All {
		extra[ReviewName] = e.Review
	}
	e.mu.Lock()
	e.overlays++
	dir := filepath.Join(e.Tmp, fmt.Sprintf("overlay%d", e.overlays))
	e.mu.Unlock()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return e.Candidate.Overlay(e.Root, dir, e.Base, extra)
}

// Dir makes a folder for one run. It holds the lesson's files that are not
// Go, the candidate's among them, so that tests find them where go test has
// them: in the working directory.
func (e *Env) Dir() (string, error) {
	e.mu.Lock()
	e.runs++
	dir := filepath.Join(e.Tmp, fmt.Sprintf("run%d", e.runs))
	e.mu.Unlock()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	for name, b := range e.Candidate.Data() {
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(to, b, 0o600); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// SourceFile names a file of the lesson's folder as the workshop's tree has
// it: the review tests are laid into the folder but live with the solution.
func SourceFile(l *lesson.Lesson, name string) string {
	if name == ReviewName {
		return path.Join("solutions", l.Slug, lesson.ReviewTest)
	}
	return path.Join(l.Folder(), name)
}
