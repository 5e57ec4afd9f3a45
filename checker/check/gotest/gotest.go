// Package gotest is the kind "test": ordinary Go tests, the visible ones
// first, and when they pass the review tests. It builds one binary a profile,
// race with the race detector and perf without it.
package gotest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"pitstop/checker/check"
	"pitstop/checker/gotool"
	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

// Kind grades by Go tests.
type Kind struct{}

// With is what a lesson may say: limits other than the usual ones.
type With struct {
	Seconds   int `yaml:"seconds"`    // for all tests of one stage
	MemoryMiB int `yaml:"memory_mib"` // resident, the test binary and its children
}

const (
	race = "race"
	perf = "perf"
)

func limits(c lesson.Check) (gotool.Limits, error) {
	lim, w := gotool.DefaultLimits, With{}
	if c.With.Kind != 0 {
		if err := lesson.DecodeStrict(&c.With, &w); err != nil {
			return lim, fmt.Errorf("with: %w", err)
		}
	}
	if w.Seconds > 0 {
		lim.Time = time.Duration(w.Seconds) * time.Second
	}
	if w.MemoryMiB > 0 {
		lim.Memory = int64(w.MemoryMiB) << 20
	}
	return lim, nil
}

// Validate implements [check.Kind].
func (Kind) Validate(c lesson.Check) error {
	if len(c.Profiles) == 0 {
		return errors.New("profiles: name race, perf, or both")
	}
	for _, p := range c.Profiles {
		if p != race && p != perf {
			return fmt.Errorf("profiles: unknown profile %q (known: race, perf)", p)
		}
	}
	_, err := limits(c)
	return err
}

// Run implements [check.Kind].
func (Kind) Run(ctx context.Context, env *check.Env, c lesson.Check) (check.Result, error) {
	lim, err := limits(c)
	if err != nil {
		return check.Result{}, err
	}
	l := env.Candidate.Lesson
	visible, err := check.TestNames(l.Files)
	if err != nil {
		return check.Result{}, err
	}
	if len(visible) == 0 {
		return check.Result{}, fmt.Errorf("%s has no tests", l.Folder())
	}
	profiles, skip := c.Profiles, ""
	if env.Tool.NoRace != "" && slices.Contains(profiles, race) {
		profiles, skip = []string{perf}, env.Tool.NoRace
	}
	g := grading{env: env, profiles: profiles, limits: lim}
	ctx, cancel := context.WithCancel(ctx)
	defer g.ahead.Wait()
	defer cancel()

	var review []string
	if env.Review != nil {
		if review, err = check.TestNames(map[string][]byte{check.ReviewName: env.Review}); err != nil {
			return check.Result{}, err
		}
	}
	ask := func() (check.Result, error) { return g.stage(ctx, verdict.StageReview, review) }
	if env.Beside && len(review) > 0 {
		early := make(chan struct{})
		var more check.Result
		var moreErr error
		g.ahead.Go(func() {
			defer close(early)
			more, moreErr = g.stage(ctx, verdict.StageReview, review)
		})
		ask = func() (check.Result, error) { <-early; return more, moreErr }
	}

	env.Step("building and running %d tests", len(visible))
	res, err := g.stage(ctx, verdict.StageVisible, visible)
	res.Skip = skip
	if err != nil || len(res.Findings) > 0 || len(review) == 0 {
		return res, err
	}
	env.Step("the visible tests pass; running %d review tests", len(review))
	more, err := ask()
	res.Findings = append(res.Findings, more.Findings...)
	res.Evidence = append(res.Evidence, more.Evidence...)
	return res, err
}

type grading struct {
	env      *check.Env
	profiles []string
	limits   gotool.Limits
	ahead    sync.WaitGroup // builds of what may be needed next
}

// stage runs the named tests in every profile at once and joins what they say.
func (g *grading) stage(ctx context.Context, stage verdict.Stage, tests []string) (check.Result, error) {
	type outcome struct {
		run   *gotool.Result
		build *gotool.BuildError
		err   error
	}
	outcomes := make([]outcome, len(g.profiles))
	var wg sync.WaitGroup
	for i, p := range g.profiles {
		wg.Go(func() {
			o := &outcomes[i]
			holds := check.Visible
			if stage == verdict.StageReview {
				holds = check.All
			}
			binary, err := g.env.Binary(ctx, holds, p == race)
			if e, ok := errors.AsType[*gotool.BuildError](err); ok {
				o.build = e
				return
			}
			if err != nil {
				o.err = err
				return
			}
			if stage == verdict.StageVisible && g.env.Review != nil && !g.env.Beside {
				// While the visible tests run the review's binary is built.
				g.ahead.Go(func() { _, _ = g.env.Binary(ctx, check.All, p == race) }) // asked again when it is needed
			}
			o.run, o.err = g.run(ctx, binary, tests)
		})
	}
	wg.Wait()

	var res check.Result
	ran := map[string]bool{}
	for _, o := range outcomes {
		if o.err != nil {
			return res, o.err
		}
		if o.build != nil {
			found := check.CompileFindings(g.env.Candidate, o.build.Output)
			if len(found) == 0 {
				return res, o.build
			}
			return check.Result{Findings: found}, nil
		}
	}
	for _, o := range outcomes {
		j := judge{lesson: g.env.Candidate.Lesson, review: g.env.Review, stage: stage, res: o.run, expected: tests}
		found, err := j.findings()
		if err != nil {
			return res, err
		}
		for _, f := range found {
			if !slices.ContainsFunc(res.Findings, func(x verdict.Finding) bool { return x.Code == f.Code && x.Test == f.Test }) {
				res.Findings = append(res.Findings, f)
			}
		}
		for _, e := range j.evidence() {
			if !slices.ContainsFunc(res.Evidence, func(x verdict.Evidence) bool { return x.Name == e.Name && x.Test == e.Test }) {
				res.Evidence = append(res.Evidence, e)
			}
		}
		for _, name := range tests {
			if t := o.run.Report.Tests[name]; t != nil && t.Result != "skip" {
				ran[name] = true
			}
		}
	}
	// Where a profile is missing on this machine, its tests are what is skipped.
	if len(res.Findings) == 0 && g.env.Tool.NoRace == "" {
		for _, name := range tests {
			if !ran[name] {
				return res, fmt.Errorf("the lesson is at fault: %s was skipped in every profile (%s)", name, strings.Join(g.profiles, ", "))
			}
		}
	}
	return res, nil
}

func (g *grading) run(ctx context.Context, binary string, tests []string) (*gotool.Result, error) {
	dir, err := g.env.Dir()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	return gotool.Run(ctx, gotool.Job{Binary: binary, Dir: dir, Tests: tests, Limits: g.limits})
}
