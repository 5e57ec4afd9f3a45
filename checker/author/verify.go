// Package author is for those who write lessons: it proves the grader on
// every mend that is known, keeps the pristine copy, and scaffolds a lesson.
package author

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"pitstop/checker/candidate"
	"pitstop/checker/grade"
	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
	"pitstop/checker/workshop"
)

// Report says whether the grader is right about every known mend. The lists
// name the mend, what was wrong and how often.
type Report struct {
	Type          string   `json:"type"` // "verify"
	Lessons       int      `json:"lessons"`
	SolutionsPass int      `json:"solutions_pass"`
	UnsolvedFail  int      `json:"unsolved_fail"`
	Accepted      int      `json:"accepted"`
	Rejected      int      `json:"rejected"`
	FalseRejects  []string `json:"false_rejects"`
	FalseAccepts  []string `json:"false_accepts"`
	WrongReason   []string `json:"wrong_reason"`
	Flakes        []string `json:"flakes"`
	Errors        []string `json:"errors"`
	Skipped       []string `json:"skipped"`
	Runs          int      `json:"runs"`
	Seconds       float64  `json:"seconds"`
}

// OK reports whether nothing is wrong.
func (r *Report) OK() bool {
	return len(r.FalseRejects)+len(r.FalseAccepts)+len(r.WrongReason)+len(r.Flakes)+len(r.Errors) == 0
}

// Problems lists everything that is wrong, a line each.
func (r *Report) Problems() []string {
	var all []string
	for _, k := range []struct {
		name string
		list []string
	}{
		{"false accept", r.FalseAccepts}, {"false reject", r.FalseRejects},
		{"wrong reason", r.WrongReason}, {"flake", r.Flakes}, {"error", r.Errors},
	} {
		for _, s := range k.list {
			all = append(all, k.name+": "+s)
		}
	}
	return all
}

type kind int

const (
	unsolved kind = iota
	reference
	accepted
	rejected
)

// subject is one known mend and what the grader must say of it.
type subject struct {
	lesson *lesson.Lesson
	kind   kind
	name   string // as 01_bounded_workers/rejected/close_twice
	files  map[string][]byte
	code   string // the finding that must be among those of a rejected mend; one that ends in a dot begins all of them
	hidden lesson.Hidden
	parts  []part // what the lesson is built from
}

// part is one mend of a lesson that another is built from.
type part struct {
	lesson *lesson.Lesson
	files  map[string][]byte
}

func (s subject) candidate() *candidate.Candidate { return join(s.lesson, s.files, s.parts) }

func join(l *lesson.Lesson, files map[string][]byte, parts []part) *candidate.Candidate {
	c := candidate.New(l, files)
	for _, p := range parts {
		c.Join(candidate.New(p.lesson, p.files))
	}
	return c
}

// Shipped is a lesson, and all that it is built from, before anybody mended
// anything.
func Shipped(w *workshop.Workshop, l *lesson.Lesson) (*candidate.Candidate, error) {
	shipped, _, err := parts(w, l)
	return join(l, l.Unsolve(), shipped), err
}

// Mended is a lesson, and all that it is built from, by the reference mends.
func Mended(w *workshop.Workshop, l *lesson.Lesson) (*candidate.Candidate, error) {
	_, mended, err := parts(w, l)
	if err != nil {
		return nil, err
	}
	s, err := w.Solution(l)
	if err != nil {
		return nil, err
	}
	return join(l, s.Reference, mended), nil
}

// Progress hears of each mend when its runs are done.
type Progress func(done, all int, name string, problem string)

// Options say how Verify goes about it.
type Options struct {
	Runs         int  // of every mend
	Jobs         int  // mends at once
	SkipRejected bool // leave the wrong mends out: they are most of the work, and a flake hurts who is right
}

// Verify grades every known mend of the lessons.
func Verify(ctx context.Context, w *workshop.Workshop, e *grade.Engine, lessons []*lesson.Lesson, o Options, tell Progress) (*Report, error) {
	start := time.Now()
	r := &Report{
		Type: "verify", Lessons: len(lessons), Runs: o.Runs,
		FalseRejects: []string{}, FalseAccepts: []string{}, WrongReason: []string{}, Flakes: []string{}, Errors: []string{}, Skipped: []string{},
	}
	subjects, err := subjects(w, lessons)
	if err != nil {
		return nil, err
	}
	if o.SkipRejected {
		subjects = slices.DeleteFunc(subjects, func(s subject) bool { return s.kind == rejected })
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan subject)
	done := 0
	for range max(1, o.Jobs) {
		wg.Go(func() {
			for s := range next {
				verdicts := repeat(ctx, e, s, o.Runs)
				mu.Lock()
				done++
				problem := r.judge(s, verdicts)
				tell(done, len(subjects), s.name, problem)
				mu.Unlock()
			}
		})
	}
	for _, s := range subjects {
		select {
		case next <- s:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wg.Wait()
	r.Seconds = time.Since(start).Round(time.Millisecond).Seconds()
	return r, context.Cause(ctx)
}

func subjects(w *workshop.Workshop, lessons []*lesson.Lesson) ([]subject, error) {
	var all []subject
	for _, l := range lessons {
		s, err := w.Solution(l)
		if err != nil {
			return nil, err
		}
		shipped, mended, err := parts(w, l)
		if err != nil {
			return nil, err
		}
		add := func(k kind, name string, files map[string][]byte, code string) {
			all = append(all, subject{lesson: l, kind: k, name: l.Slug + "/" + name, files: files, code: code, hidden: s.Hidden, parts: mended})
		}
		add(unsolved, "unsolved", l.Unsolve(), "")
		all[len(all)-1].parts = shipped
		add(reference, "reference", s.Reference, "")
		for _, v := range s.Accepted {
			add(accepted, "accepted/"+v.Name, v.Files, "")
		}
		for _, v := range s.Rejected {
			add(rejected, "rejected/"+v.Name, v.Files, v.Finding)
		}
		// Each lesson that it is built from, left as it was shipped, must be
		// found by itself and blamed alone.
		for i, p := range shipped {
			if !edits(p.lesson) {
				continue
			}
			add(rejected, "rejected/without_"+p.lesson.Slug, s.Reference, fmt.Sprintf("lesson%02d.", p.lesson.Number))
			one := slices.Clone(mended)
			one[i] = p
			all[len(all)-1].parts = one
		}
	}
	return all, nil
}

// parts are the lessons that l is built from, as shipped and as mended.
func parts(w *workshop.Workshop, l *lesson.Lesson) (shipped, mended []part, err error) {
	list, err := l.Parts(w.Pristine.Lessons)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range list {
		s, err := w.Solution(p)
		if err != nil {
			return nil, nil, err
		}
		shipped = append(shipped, part{p, p.Unsolve()})
		mended = append(mended, part{p, s.Reference})
	}
	return shipped, mended, nil
}

// edits reports whether a learner changes the package itself, and not only
// its tests.
func edits(l *lesson.Lesson) bool {
	return slices.ContainsFunc(l.Edit, func(name string) bool {
		return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
	})
}

func repeat(ctx context.Context, e *grade.Engine, s subject, runs int) []verdict.Verdict {
	g := e.Open(s.candidate(), s.hidden)
	defer g.Close()
	var all []verdict.Verdict
	for range max(1, runs) {
		if ctx.Err() != nil {
			break
		}
		all = append(all, g.Run(ctx, func(verdict.Event) {}))
	}
	return all
}

// judge books a mend's verdicts and returns what is wrong with them in a line.
func (r *Report) judge(s subject, verdicts []verdict.Verdict) string {
	var wrong, first string
	bad, skipped := 0, 0
	var list *[]string
	for _, v := range verdicts {
		l, problem := r.wrong(s, v)
		switch {
		case problem == skip:
			skipped++
		case problem != "":
			bad++
			if first == "" {
				first, list = problem, l
			}
		}
	}
	switch {
	case skipped == len(verdicts) && skipped > 0:
		r.Skipped = append(r.Skipped, s.name)
		return ""
	case bad == 0:
		r.count(s.kind)
		return ""
	case bad < len(verdicts) && list != &r.Errors:
		wrong = fmt.Sprintf("%s: %d of %d runs: %s", s.name, bad, len(verdicts), first)
		r.Flakes = append(r.Flakes, wrong)
	default:
		wrong = s.name + ": " + first
		*list = append(*list, wrong)
	}
	return wrong
}

func (r *Report) count(k kind) {
	switch k {
	case unsolved:
		r.UnsolvedFail++
	case reference:
		r.SolutionsPass++
	case accepted:
		r.Accepted++
	case rejected:
		r.Rejected++
	}
}

// skip stands for a verdict that this machine cannot give.
const skip = "skip"

// wrong says what is wrong with one verdict, and which list it belongs to.
func (r *Report) wrong(s subject, v verdict.Verdict) (*[]string, string) {
	if v.Outcome == verdict.Error {
		return &r.Errors, said(v)
	}
	switch s.kind {
	case reference, accepted:
		switch v.Outcome {
		case verdict.Skip:
			return nil, skip
		case verdict.Pass:
			return nil, ""
		}
		return &r.FalseRejects, said(v)
	case unsolved:
		if v.Outcome != verdict.Fail {
			return &r.FalseAccepts, "the unsolved lesson gives " + string(v.Outcome)
		}
		got := codes(v)
		want := slices.Sorted(slices.Values(s.lesson.Unsolved))
		if !slices.Equal(got, want) {
			return &r.WrongReason, fmt.Sprintf("the unsolved lesson fails for %s, not for %s as lesson.yaml states", strings.Join(got, ", "), strings.Join(want, ", "))
		}
		for _, f := range v.Findings {
			if f.Stage != verdict.StageVisible {
				return &r.WrongReason, fmt.Sprintf("%s comes from the %s stage, not from the visible tests", f.Code, f.Stage)
			}
		}
		return nil, ""
	default:
		if v.Outcome == verdict.Skip {
			return nil, skip
		}
		if v.Outcome != verdict.Fail {
			return &r.FalseAccepts, "passes, and must be caught by " + s.code
		}
		if !s.caught(codes(v)) {
			return &r.WrongReason, fmt.Sprintf("fails for %s, not for %s: %s", strings.Join(codes(v), ", "), s.code, said(v))
		}
		return nil, ""
	}
}

// caught reports whether a rejected mend failed for the reason that it must.
func (s subject) caught(codes []string) bool {
	if !strings.HasSuffix(s.code, ".") {
		return slices.Contains(codes, s.code)
	}
	return !slices.ContainsFunc(codes, func(c string) bool { return !strings.HasPrefix(c, s.code) })
}

func codes(v verdict.Verdict) []string {
	var all []string
	for _, f := range v.Findings {
		all = append(all, f.Code)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func said(v verdict.Verdict) string {
	if len(v.Findings) == 0 {
		return string(v.Outcome)
	}
	return fmt.Sprintf("%s (%s: %s)", v.Outcome, v.Findings[0].Code, v.Findings[0].Message)
}
