// Package analysis is the kind "analysis": go/analysis analyzers, run in
// process over the candidate's package. They see what the compiler sees, and
// nothing in a candidate's comments silences them.
package analysis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/analysis"

	"pitstop/checker/check"
	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

// Kind grades by static analysis. The zero value is ready to use.
type Kind struct{}

// With is what a lesson says: which analyzers must be silent.
type With struct {
	Analyzers []string `yaml:"analyzers"`
}

func chosen(c lesson.Check) ([]string, error) {
	var w With
	if c.With.Kind != 0 {
		if err := lesson.DecodeStrict(&c.With, &w); err != nil {
			return nil, fmt.Errorf("with: %w", err)
		}
	}
	if len(w.Analyzers) == 0 {
		return nil, errors.New("with: analyzers: name the ones that must be silent, as [bodyclose, noctx]")
	}
	for i, name := range w.Analyzers {
		if _, ok := known[name]; !ok {
			return nil, fmt.Errorf("with: unknown analyzer %q (known: %s)", name, strings.Join(names(), ", "))
		}
		if slices.Contains(w.Analyzers[:i], name) {
			return nil, fmt.Errorf("with: analyzer %s is named twice", name)
		}
	}
	return w.Analyzers, nil
}

// Validate implements [check.Kind].
func (Kind) Validate(c lesson.Check) error {
	if len(c.Profiles) > 0 {
		return errors.New("profiles: nothing is run, so there are none")
	}
	_, err := chosen(c)
	return err
}

// Run implements [check.Kind].
func (Kind) Run(ctx context.Context, env *check.Env, c lesson.Check) (check.Result, error) {
	list, err := chosen(c)
	if err != nil {
		return check.Result{}, err
	}
	env.Step("reading the package with %d analyzers", len(list))
	tmp := filepath.Join(env.Tmp, "analysis")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return check.Result{}, err
	}
	overlay, err := env.Candidate.Overlay(env.Root, tmp, env.Base, nil)
	if err != nil {
		return check.Result{}, err
	}
	p, err := load(ctx, env, overlay)
	if err != nil {
		return check.Result{}, err
	}
	l := env.Candidate.Lesson
	if len(p.broken) > 0 {
		if env.Candidate.Untouched() {
			return check.Result{}, fmt.Errorf("the lesson is at fault: %s does not compile: %v", l.Folder(), p.broken[0])
		}
		return check.Result{Findings: compileFindings(l, p)}, nil
	}

	res := check.Result{Findings: silencers(env.Candidate, p)}
	for _, name := range list {
		found, err := p.diagnose(known[name].analyzer)
		if err != nil {
			return check.Result{}, fmt.Errorf("analyzer %s: %w", name, err)
		}
		for _, d := range found {
			if excused := known[name].excused; excused != nil && excused(p, d) {
				continue
			}
			code, says := "analysis."+name, known[name].says
			res.Findings = append(res.Findings, p.finding(l, code, d, "%s (%s: %s)", says, name, d.Message))
		}
	}
	res.Findings = tidy(res.Findings)
	zero := 0.0
	res.Evidence = []verdict.Evidence{{
		Name: fmt.Sprintf("findings of %d analyzers", len(list)), Unit: "findings", Stage: verdict.StageVisible,
		Now: float64(len(res.Findings)), Limit: &zero, Bound: "max",
	}}
	return res, nil
}

func (p *unit) finding(l *lesson.Lesson, code string, d analysis.Diagnostic, format string, args ...any) verdict.Finding {
	at := p.fset.PositionFor(d.Pos, false)
	name := filepath.Base(at.Filename)
	return verdict.Finding{
		Code: code, Message: fmt.Sprintf(format, args...), Stage: verdict.StageVisible,
		File: check.SourceFile(l, name), Line: at.Line,
	}
}

// tidy orders findings as a reader meets them, and says each once a line.
func tidy(list []verdict.Finding) []verdict.Finding {
	slices.SortStableFunc(list, func(a, b verdict.Finding) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
	var said []verdict.Finding
	for _, f := range list {
		if !slices.ContainsFunc(said, func(x verdict.Finding) bool { return x.Code == f.Code && x.File == f.File && x.Line == f.Line }) {
			said = append(said, f)
		}
	}
	return said
}

// most is how many of the compiler's errors a learner is shown.
const most = 3

func compileFindings(l *lesson.Lesson, p *unit) []verdict.Finding {
	var found []verdict.Finding
	for _, e := range p.broken[:min(len(p.broken), most)] {
		name := filepath.Base(e.at.Filename)
		found = append(found, verdict.Finding{
			Code: "build.compile", Stage: verdict.StageBuild, File: check.SourceFile(l, name), Line: e.at.Line,
			Message: fmt.Sprintf("%s does not compile: line %d: %s", name, e.at.Line, e.message),
		})
	}
	return found
}
