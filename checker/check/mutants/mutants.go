// Package mutants is the kind "mutants": the learner's work is a test, and it
// is graded by what it says of implementations that somebody else wrote. It
// must pass on every sound one and fail on every broken one, each time.
//
// All implementations are in one binary, so that there is one build: the
// lesson's solution has a file in the place of the package under test, which
// takes the implementation that the variable [Variable] names.
package mutants

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"pitstop/checker/check"
	"pitstop/checker/gotool"
	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

// Kind grades a learner's test by mutants.
type Kind struct{}

// Variable of the environment names the implementation that is under test.
const Variable = "PITSTOP_MUTANT"

// Table is the file among the mutants that says of each what it is.
const Table = "mutants.yaml"

// With is what a lesson may say.
type With struct {
	Runs    int    `yaml:"runs"`    // how often each implementation is tried
	Noun    string `yaml:"noun"`    // what an implementation is, as "server"
	Nouns   string `yaml:"nouns"`   // more than one of them
	Prefix  string `yaml:"prefix"`  // of the findings' codes
	Seconds int    `yaml:"seconds"` // for one test run
}

// mutant is one implementation.
type mutant struct {
	Name   string `yaml:"name"`
	Broken string `yaml:"broken"` // what it does wrong, as the object of "a server that"; empty for a sound one
	Sound  string `yaml:"sound"`  // what it does, where it is sound
	Review bool   `yaml:"review"` // tried when all others are judged rightly
}

const (
	atOnce   = 8               // runs side by side: they mostly wait
	patience = 3 * time.Second // for all repeats on one implementation; a test in real time gets through fewer
	crashed  = 5               // how often a test that ends its process is tried: the rest of its runs is lost each time
	mentions = 4               // findings of a stage: more are not read
	words    = 3               // lines of a test's own words in a sentence
	perfName = "perf"
	raceName = "race"
)

func decode(c lesson.Check) (With, error) {
	w := With{Runs: 20, Noun: "implementation", Nouns: "implementations", Prefix: "mutants", Seconds: 10}
	if c.With.Kind != 0 {
		if err := lesson.DecodeStrict(&c.With, &w); err != nil {
			return w, fmt.Errorf("with: %w", err)
		}
	}
	if w.Runs < 1 || w.Seconds < 1 || w.Noun == "" {
		return w, errors.New("with: runs and seconds are at least 1, and noun is a word")
	}
	return w, nil
}

// Validate implements [check.Kind].
func (Kind) Validate(c lesson.Check) error {
	if len(c.Profiles) != 1 || c.Profiles[0] != raceName && c.Profiles[0] != perfName {
		return errors.New("profiles: name one, race or perf")
	}
	_, err := decode(c)
	return err
}

// Run implements [check.Kind].
func (Kind) Run(ctx context.Context, env *check.Env, c lesson.Check) (check.Result, error) {
	with, err := decode(c)
	if err != nil {
		return check.Result{}, err
	}
	all, err := table(env)
	if err != nil {
		return check.Result{}, err
	}
	g := &grading{env: env, with: with, race: c.Profiles[0] == raceName}
	if g.tests, err = check.TestNames(env.Candidate.Files); err != nil {
		return check.Result{}, err
	}
	if len(g.tests) == 0 {
		return check.Result{Findings: []verdict.Finding{{
			Code: with.Prefix + ".no_test", Stage: verdict.StageVisible, File: path.Join(env.Candidate.Lesson.Folder(), env.Candidate.Lesson.Edit[0]),
			Message: fmt.Sprintf("%s holds no test: write a function such as TestClose(t *testing.T)", env.Candidate.Lesson.Edit[0]),
		}}}, nil
	}
	skip := ""
	if g.race && env.Tool.NoRace != "" {
		g.race, skip = false, env.Tool.NoRace
	}
	env.Step("building your test with %d %s", len(all), with.Nouns)
	if g.binary, err = env.Binary(ctx, check.Learner, g.race); err != nil {
		if e, ok := errors.AsType[*gotool.BuildError](err); ok {
			if found := check.CompileFindings(env.Candidate, e.Output); len(found) > 0 {
				return check.Result{Findings: found}, nil
			}
		}
		return check.Result{}, err
	}
	first := slices.DeleteFunc(slices.Clone(all), func(m mutant) bool { return m.Review })
	later := slices.DeleteFunc(slices.Clone(all), func(m mutant) bool { return !m.Review })
	res := check.Result{Skip: skip}
	for _, s := range []struct {
		stage verdict.Stage
		list  []mutant
		count int
		step  string
	}{
		{verdict.StageVisible, first, 1, "trying your test on %d %s, once each"},
		{verdict.StageReview, later, 1, "trying it on %d more %s"},
		{verdict.StageReview, all, with.Runs - 1, "your test is right about all %d %s; once is luck, so again"},
	} {
		if len(s.list) == 0 || s.count == 0 {
			continue
		}
		env.Step(s.step, len(s.list), with.Nouns)
		outcomes, err := g.try(ctx, s.list, s.count)
		if err != nil {
			return res, err
		}
		g.judge(&res, s.stage, s.list, outcomes, s.count)
		if len(res.Findings) > 0 {
			break
		}
	}
	return res, nil
}

func table(env *check.Env) ([]mutant, error) {
	src, ok := env.Mutants[Table]
	if !ok {
		return nil, fmt.Errorf("the lesson is at fault: solutions/%s/%s has no %s", env.Candidate.Lesson.Slug, lesson.MutantsFolder, Table)
	}
	dec := yaml.NewDecoder(bytes.NewReader(src))
	dec.KnownFields(true)
	var all []mutant
	if err := dec.Decode(&all); err != nil {
		return nil, fmt.Errorf("the lesson is at fault: %s: %w", Table, err)
	}
	for _, m := range all {
		if m.Name == "" || (m.Broken == "") == (m.Sound == "") {
			return nil, fmt.Errorf("the lesson is at fault: %s: mutant %q: say what is broken or what is sound about it", Table, m.Name)
		}
	}
	return all, nil
}

type grading struct {
	env    *check.Env
	with   With
	race   bool
	binary string
	tests  []string
}

// outcome is what a learner's test said of one mutant.
type outcome struct {
	passed, failed int
	slow           bool // its time was over before all runs were done
	stop           gotool.Stop
	words          string // of the first run that failed
	stacks         string // of a run that was ended
}

func (o *outcome) add(other outcome) {
	o.passed += other.passed
	o.failed += other.failed
	if o.words == "" {
		o.words = other.words
	}
	if o.stop == "" {
		o.stop, o.stacks = other.stop, other.stacks
	}
}

// try runs the test on every mutant, count times each.
func (g *grading) try(ctx context.Context, list []mutant, count int) ([]outcome, error) {
	outcomes, errs := make([]outcome, len(list)), make([]error, len(list))
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, m := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			outcomes[i], errs[i] = g.tryOne(ctx, m, count)
		})
	}
	wg.Wait()
	return outcomes, errors.Join(errs...)
}

// tryOne runs the test on one mutant. A process that ends early has lost its
// further runs; it is started anew a few times.
func (g *grading) tryOne(ctx context.Context, m mutant, count int) (outcome, error) {
	var sum outcome
	for range crashed {
		o, err := g.process(ctx, m, count-sum.passed-sum.failed)
		if err != nil {
			return sum, err
		}
		sum.add(o)
		if sum.passed+sum.failed >= count || sum.stop != "" || o.slow {
			break
		}
	}
	return sum, nil
}

func (g *grading) process(ctx context.Context, m mutant, count int) (outcome, error) {
	dir, err := g.env.Dir()
	if err != nil {
		return outcome{}, err
	}
	defer os.RemoveAll(dir)
	lim := gotool.DefaultLimits
	lim.Time = time.Duration(g.with.Seconds) * time.Second
	if count > 1 {
		lim.Time = min(lim.Time, patience)
	}
	res, err := gotool.Run(ctx, gotool.Job{
		Binary: g.binary, Dir: dir, Tests: g.tests, Count: count, Limits: lim,
		Env: []string{
			Variable + "=" + m.Name,
			// A process reports each race once only, so it ends with the first,
			// and the next run is in a new one.
			"GORACE=atexit_sleep_ms=0 halt_on_error=1",
		},
	})
	if err != nil {
		return outcome{}, err
	}
	return read(res, g.tests, count), nil
}

// read counts a process's runs. One run is every test once: it fails if one
// of them does, and if the process ends in the middle of it.
func read(res *gotool.Result, tests []string, count int) outcome {
	o := outcome{stop: res.Stop}
	if res.Stop == gotool.StopTime {
		o.stacks = res.Report.Crash
	}
	ended, failed := count, 0
	for _, name := range tests {
		t := res.Report.Tests[name]
		if t == nil {
			ended = 0
			continue
		}
		ended = min(ended, t.Ended)
		failed = max(failed, t.Failed)
		if t.Failed > 0 && o.words == "" {
			o.words = said(t.Output)
		}
	}
	o.failed = min(failed, ended)
	o.passed = ended - o.failed
	if o.stop == gotool.StopTime && (ended > 0 || count > 1) {
		o.stop, o.stacks, o.slow = gotool.StopNone, "", true // no hang, since it came to its end before: the runs that ended count
		return o
	}
	if o.stop == gotool.StopTime && o.words == "" {
		for _, name := range tests {
			if t := res.Report.Tests[name]; t != nil && t.Ended < t.Started && complaint.Match(t.Output) {
				// It has said what is wrong, and then it did not come to its end.
				o.words = said(t.Output)
				o.failed, o.stop, o.stacks, o.slow = 1, gotool.StopNone, "", true
				return o
			}
		}
	}
	cut := ended < count || res.Report.Final == ""
	switch {
	case cut && o.failed+o.passed < count:
		o.failed++ // the run that it ended in
	case o.failed == 0 && res.Status != 0:
		// What ended it looked at all runs together, as goleak's VerifyTestMain.
		o.passed, o.failed = 0, count
	}
	if o.words == "" && o.failed > 0 && len(res.Report.Races) > 0 {
		o.words = "the race detector's report"
	}
	if o.words == "" && o.failed > 0 {
		o.words = said([]byte(res.Report.Crash))
	}
	if o.words == "" && o.failed > 0 {
		o.words = said(res.Report.Tail)
	}
	return o
}

// complaint is what t.Error prints.
var complaint = regexp.MustCompile(`(?m)^\s+\w+_test\.go:\d+: `)

// said is the beginning of what a failing test printed.
func said(output []byte) string {
	var lines []string
	for line := range strings.Lines(string(output)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		lines = append(lines, line)
		if len(lines) == words {
			break
		}
	}
	text := strings.Join(lines, " ")
	if r := []rune(text); len(r) > 200 {
		text = string(r[:200]) + "…"
	}
	return text
}

// judge turns what a test said of a list of mutants into evidence and
// findings. Where every mutant was tried before, it is the repeats that speak.
func (g *grading) judge(res *check.Result, stage verdict.Stage, list []mutant, outcomes []outcome, count int) {
	var sound, broken, right, caught int
	var found []verdict.Finding
	add := func(code, format string, args ...any) {
		found = append(found, verdict.Finding{
			Code: g.with.Prefix + "." + code, Stage: stage, Message: fmt.Sprintf(format, args...),
			File: path.Join(g.env.Candidate.Lesson.Folder(), g.env.Candidate.Lesson.Edit[0]),
		})
	}
	for i, m := range list {
		o := outcomes[i]
		runs := o.passed + o.failed
		if m.Sound != "" {
			sound++
		} else {
			broken++
		}
		switch {
		case o.stop == gotool.StopTime:
			add("hangs", "your test does not end within %d s on %s that %s; bound every wait, and fail with a sentence", g.with.Seconds, a(g.with.Noun), m.does())
			found[len(found)-1].Detail = o.stacks
		case o.stop != "":
			add("limit", "your test was ended on %s that %s: too much %s", a(g.with.Noun), m.does(), o.stop)
		case m.Sound != "" && o.failed == 0:
			right++
		case m.Sound == "" && o.passed == 0:
			caught++
		case m.Sound != "" && o.passed == 0:
			add("false_alarm", "your test fails on a sound %s, one that %s. It said: %s", g.with.Noun, m.Sound, o.words)
		case m.Sound != "":
			add("flaky", "your test fails %d times in %d on a sound %s, one that %s. It said: %s", o.failed, runs, g.with.Noun, m.Sound, o.words)
		case o.failed == 0:
			add("missed", "your test passes on a broken %s, one that %s", g.with.Noun, m.Broken)
		default:
			add("flaky", "your test passes %d times in %d on a broken %s, one that %s", o.passed, runs, g.with.Noun, m.Broken)
		}
	}
	suffix := ""
	switch {
	case count > 1:
		suffix = fmt.Sprintf(", %d tries", count)
	case stage == verdict.StageReview:
		suffix = ", review"
	}
	for _, e := range []struct {
		name  string
		now   int
		limit int
	}{
		{"sound " + g.with.Nouns + " passed" + suffix, right, sound},
		{"broken " + g.with.Nouns + " caught" + suffix, caught, broken},
	} {
		if e.limit > 0 {
			limit := float64(e.limit)
			res.Evidence = append(res.Evidence, verdict.Evidence{Name: e.name, Now: float64(e.now), Limit: &limit, Bound: "equal", Stage: stage})
		}
	}
	// The first of each code comes before the second of any.
	seen := map[string]int{}
	turn := make(map[string]int, len(found))
	for _, f := range found {
		turn[f.Message] = seen[f.Code]
		seen[f.Code]++
	}
	slices.SortStableFunc(found, func(a, b verdict.Finding) int { return turn[a.Message] - turn[b.Message] })
	if len(found) > mentions {
		found[mentions-1].Message += fmt.Sprintf(" (and %d more)", len(found)-mentions)
		found = found[:mentions]
	}
	res.Findings = append(res.Findings, found...)
}

func a(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

func (m mutant) does() string {
	if m.Sound != "" {
		return m.Sound
	}
	return m.Broken
}
