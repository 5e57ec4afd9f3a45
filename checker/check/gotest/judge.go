package gotest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"pitstop/checker/check"
	"pitstop/checker/gotool"
	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

// judge turns one run into findings. It trusts no single sign: a pass is
// every expected test begun once, ended once and passed, one final PASS, exit
// status 0, and nothing left running.
type judge struct {
	lesson   *lesson.Lesson
	review   []byte // the source of the review tests
	stage    verdict.Stage
	res      *gotool.Result
	expected []string
	found    []verdict.Finding
}

func (j *judge) add(f verdict.Finding) {
	f.Stage = j.stage
	j.found = append(j.found, f)
}

func (j *judge) findings() ([]verdict.Finding, error) {
	r := j.res.Report
	j.forged()
	for _, name := range r.Order {
		j.coded(r.Tests[name])
	}
	j.races()
	j.limits()
	crashed := j.crash()
	for _, name := range j.expected {
		j.uncoded(name)
	}
	if !crashed && j.res.Stop == gotool.StopNone {
		j.accounts()
	}
	if j.res.Leftover > 0 {
		j.add(verdict.Finding{Code: "leak.process", Message: fmt.Sprintf(
			"%d %s still running after the tests had ended; the checker killed %s. Wait for every process that is started",
			j.res.Leftover, plural(j.res.Leftover, "process was", "processes were"), plural(j.res.Leftover, "it", "them"))})
	}
	if len(j.found) == 0 && j.res.Status == 66 {
		return nil, fmt.Errorf("the race detector ended the tests with status 66 but its report is missing")
	}
	return j.found, nil
}

// coded takes the findings that a test published.
func (j *judge) coded(t *gotool.Test) {
	for _, f := range t.Findings {
		v := verdict.Finding{Code: f.Code, Message: f.Message, Test: t.Name}
		for _, said := range failures(j.lesson, j.review, t.Output) {
			if strings.HasPrefix(said.text, f.Code+": ") {
				v.File, v.Line = check.SourceFile(j.lesson, said.name), said.line
				break
			}
		}
		j.add(v)
	}
}

func (j *judge) has(test string) bool {
	return slices.ContainsFunc(j.found, func(f verdict.Finding) bool {
		return f.Test == test || strings.HasPrefix(f.Test, test+"/")
	})
}

func (j *judge) hasCode(code string) bool {
	return slices.ContainsFunc(j.found, func(f verdict.Finding) bool { return f.Code == code })
}

// uncoded gives a failed test without a finding of its own one that quotes it.
func (j *judge) uncoded(name string) {
	r := j.res.Report
	t := r.Tests[name]
	if t == nil || t.Result != "fail" || j.has(name) {
		return
	}
	// The deepest failed subtest says most.
	for _, sub := range r.Order {
		if s := r.Tests[sub]; strings.HasPrefix(sub, name+"/") && s.Result == "fail" && len(s.Output) > 0 {
			t = s
		}
	}
	said := failures(j.lesson, j.review, t.Output)
	raced := bytes.Contains(t.Output, []byte(racy))
	f := verdict.Finding{Code: "test.failed", Test: t.Name, Detail: string(t.Output)}
	switch {
	case len(said) > 0:
		f.File, f.Line = check.SourceFile(j.lesson, said[0].name), said[0].line
		f.Message = fmt.Sprintf("%s failed: %s", t.Name, said[0].sentence())
	case raced && j.hasCode("race.data"):
		return // its echo
	case raced:
		f.Code = "race.data"
		f.Message = fmt.Sprintf("two goroutines of %s touch the same memory with nothing between them; the race detector's report did not come through, so run `go test -race ./%s` to see it", t.Name, j.lesson.Folder())
	default:
		f.Message = t.Name + " failed without a word; the output below is all there is"
	}
	j.add(f)
}

func (j *judge) races() {
	for i, report := range j.res.Report.Races[:min(1, len(j.res.Report.Races))] {
		f := verdict.Finding{Code: "race.data", Detail: report}
		if in := j.res.Report.RaceIn[i]; slices.Contains(j.expected, top(in)) {
			f.Test = in
		}
		message, at := raceSentence(j.lesson, report)
		f.Message = message
		if at.line > 0 {
			f.File, f.Line = at.file(j.lesson), at.line
		}
		j.add(f)
	}
}

func (j *judge) limits() {
	r := j.res
	f := verdict.Finding{Test: j.open()}
	during := ""
	if f.Test != "" {
		during = " during " + f.Test
	}
	switch r.Stop {
	case gotool.StopTime:
		f.Code, f.Detail = "limit.time", r.Report.Crash
		f.Message = fmt.Sprintf("the tests did not end within %.0f s", r.Limits.Time.Seconds())
		if f.Test != "" {
			f.Message += "; " + f.Test + " was still running"
		}
		j.place(&f)
	case gotool.StopOutput:
		f.Code, f.Detail = "limit.output", string(r.Report.Tail)
		f.Message = fmt.Sprintf("the tests were ended%s because they printed over %d MiB; look for a print in a loop that does not end", during, r.Limits.Output>>20)
	case gotool.StopMemory:
		f.Code, f.Detail = "limit.memory", r.Report.Crash
		f.Message = fmt.Sprintf("the tests were ended%s because they held %d MiB of memory, and %d MiB are allowed; look for what grows in a loop, or for a function that calls itself without end", during, r.Peak>>20, r.Limits.Memory>>20)
		j.place(&f)
	default:
		return
	}
	j.add(f)
}

// place adds to a finding where the learner's goroutines stood at the end.
func (j *judge) place(f *verdict.Finding) {
	if at := stand(j.lesson, j.res.Report.Crash); len(at) > 0 {
		f.File, f.Line = at[0].file(j.lesson), at[0].line
		f.Message += ". In your code: " + blocked(at)
	}
}

// open names the test that began and has not ended: the deepest subtest of
// the first such.
func (j *judge) open() string {
	open := ""
	for _, name := range j.res.Report.Order {
		t := j.res.Report.Tests[name]
		if t.Started > t.Ended && (open == "" || strings.HasPrefix(name, open+"/")) {
			open = name
		}
	}
	return open
}

// crash reports whether the process came down, and says how. A line that
// looks like a panic, printed by a process that went on, is none.
func (j *judge) crash() bool {
	text := j.res.Report.Crash
	if text == "" || j.res.Stop != gotool.StopNone || j.res.Status != 2 && j.res.Signal == "" {
		return false
	}
	first := strings.TrimSpace(firstLine(text))
	if i := strings.Index(first, " [recovered"); i > 0 {
		first = first[:i]
	}
	first = strings.TrimSuffix(first, " - deadlock!")
	f := verdict.Finding{Code: "test.panic", Detail: text, Test: j.crashed()}
	asleep := strings.HasPrefix(first, "fatal error: all goroutines are asleep")
	bubble := strings.HasPrefix(first, "panic: deadlock: ")
	// A bubble that a leaked goroutine keeps open panics at its end; where the
	// test has said what is wrong, that is the finding and this its echo.
	if bubble && f.Test != "" && j.has(f.Test) {
		return true
	}
	f.Message = "the tests came down with " + clip(first)
	if asleep || bubble {
		f.Code = "test.deadlock"
		j.place(&f)
	} else if p, ok := panicked(j.lesson, text); ok {
		f.File, f.Line = p.file(j.lesson), p.line
		f.Message += fmt.Sprintf(" (%s)", p.at())
	} else if strings.HasPrefix(first, "panic: test timed out") {
		f.Code = "limit.time"
	}
	if n := j.unrun(); n > 0 {
		f.Message += fmt.Sprintf("; %d %s not run", n, plural(n, "test was", "tests were"))
	}
	j.add(f)
	return true
}

// crashed names the test during which the process came down.
func (j *judge) crashed() string {
	if t := j.open(); t != "" {
		return t
	}
	for _, name := range slices.Backward(j.res.Report.Order) {
		if j.res.Report.Tests[name].Result == "fail" {
			return name
		}
	}
	return ""
}

func (j *judge) unrun() (n int) {
	for _, name := range j.expected {
		if t := j.res.Report.Tests[name]; t == nil || t.Started == 0 {
			n++
		}
	}
	return n
}

func (j *judge) evidence() []verdict.Evidence {
	var list []verdict.Evidence
	for _, name := range j.res.Report.Order {
		for _, e := range j.res.Report.Tests[name].Evidence {
			list = append(list, verdict.Evidence{
				Name: e.Name, Unit: e.Unit, Test: name, Stage: j.stage, Now: e.Now, Limit: e.Limit, Bound: e.Bound,
			})
		}
	}
	return list
}

// top is the name of the test that a subtest belongs to.
func top(name string) string {
	name, _, _ = strings.Cut(name, "/")
	return name
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
