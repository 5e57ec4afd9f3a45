package gotest

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pitstop/checker/candidate"
	"pitstop/checker/check"
	"pitstop/checker/gotool"
	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

// judge turns one run into findings. It trusts no single sign: a pass is
// every expected test begun once, ended once and passed, a final PASS, exit
// status 0, and nothing left running.
type judge struct {
	lesson   *lesson.Lesson
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
	j.crash()
	for _, name := range j.expected {
		j.uncoded(name)
	}
	j.accounts()
	if j.res.Leftover > 0 {
		j.add(verdict.Finding{Code: "leak.process", Message: fmt.Sprintf(
			"%d %s still running after the tests had ended; the checker killed them", j.res.Leftover, plural(j.res.Leftover, "process was", "processes were"))})
	}
	if len(j.found) > 0 {
		return j.found, nil
	}
	switch {
	case j.res.Status == 66:
		return nil, fmt.Errorf("the race detector ended the tests with status 66 but its report is missing")
	case j.res.Signal != "":
		return nil, fmt.Errorf("the tests were ended by a signal from outside (%s)", j.res.Signal)
	}
	return nil, nil
}

// coded takes the findings that a test published.
func (j *judge) coded(t *gotool.Test) {
	for _, f := range t.Findings {
		file, line := j.position(t.Output, f.Code+": ")
		j.add(verdict.Finding{Code: f.Code, Message: f.Message, Test: t.Name, File: file, Line: line})
	}
}

var failLine = regexp.MustCompile(`(?m)^\s+([\w.-]+\.go):(\d+): (.*)$`)

// position finds the line of a test's source that printed a message.
func (j *judge) position(output []byte, prefix string) (string, int) {
	for _, m := range failLine.FindAllSubmatch(output, -1) {
		if strings.HasPrefix(string(m[3]), prefix) {
			n, _ := strconv.Atoi(string(m[2]))
			return check.SourceFile(j.lesson, string(m[1])), n
		}
	}
	return "", 0
}

func (j *judge) has(test string) bool {
	return slices.ContainsFunc(j.found, func(f verdict.Finding) bool {
		return f.Test == test || strings.HasPrefix(f.Test, test+"/")
	})
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
			break
		}
	}
	f := verdict.Finding{Code: "test.failed", Test: t.Name, Detail: string(t.Output)}
	f.Message = fmt.Sprintf("%s failed", t.Name)
	if m := failLine.FindSubmatch(t.Output); m != nil {
		f.File = check.SourceFile(j.lesson, string(m[1]))
		f.Line, _ = strconv.Atoi(string(m[2]))
		f.Message += ": " + message(t.Output)
	}
	j.add(f)
}

// message is what the first failure line says; testify puts its word on the
// lines that follow.
func message(output []byte) string {
	for line := range strings.Lines(string(output)) {
		line = strings.TrimSpace(line)
		if m := failLine.FindStringSubmatch(" " + line); m != nil {
			line = strings.TrimSpace(m[3])
		}
		if rest, ok := strings.CutPrefix(line, "Error:"); ok {
			return strings.TrimSpace(rest)
		}
		if line != "" && !strings.HasPrefix(line, "Error Trace:") {
			return line
		}
	}
	return ""
}

func (j *judge) races() {
	for _, report := range j.res.Report.Races[:min(1, len(j.res.Report.Races))] {
		f := verdict.Finding{Code: "race.data", Detail: report}
		f.Message, f.Line = raceSentence(j.lesson, report)
		if f.Line > 0 {
			f.File = path.Join(j.lesson.Folder(), learnerFrame(j.lesson).FindStringSubmatch(report)[1])
		}
		j.add(f)
	}
}

var access = regexp.MustCompile(`(?m)^(Previous )?([Rr]ead|[Ww]rite|[Aa]tomic read|[Aa]tomic write) at 0x[0-9a-f]+ by ([^:\n]+):`)

func learnerFrame(l *lesson.Lesson) *regexp.Regexp {
	return regexp.MustCompile(`/lessons/` + regexp.QuoteMeta(l.Slug) + `/([\w.-]+\.go):(\d+)`)
}

// raceSentence names the two places that touch the same memory.
func raceSentence(l *lesson.Lesson, report string) (string, int) {
	at := access.FindAllStringSubmatchIndex(report, -1)
	frame := learnerFrame(l)
	var places []string
	line := 0
	for i, m := range at {
		end := len(report)
		if i+1 < len(at) {
			end = at[i+1][0]
		} else if k := strings.Index(report[m[0]:], "\n\n"); k >= 0 {
			end = m[0] + k
		}
		op := strings.ToLower(report[m[4]:m[5]])
		if fm := frame.FindStringSubmatch(report[m[0]:end]); fm != nil {
			places = append(places, fmt.Sprintf("%s:%s (%s)", fm[1], fm[2], op))
			if line == 0 {
				line, _ = strconv.Atoi(fm[2])
			}
		}
	}
	if len(places) < 2 {
		return "the race detector saw two goroutines touch the same memory, at least one of them writing, with nothing between them: " + strings.Join(places, ""), line
	}
	return fmt.Sprintf("two goroutines touch the same memory with nothing between them: %s and %s", places[0], places[1]), line
}

func (j *judge) limits() {
	r := j.res
	switch r.Stop {
	case gotool.StopTime:
		f := verdict.Finding{Code: "limit.time", Detail: r.Report.Crash}
		f.Message = fmt.Sprintf("the tests did not end within %.0f s", r.LimitTime.Seconds())
		if t := j.open(); t != "" {
			f.Test = t
			f.Message += "; " + t + " was still running"
		}
		if at := blocked(j.lesson, r.Report.Crash); at != "" {
			f.Message += "; in your code: " + at
		}
		j.add(f)
	case gotool.StopOutput:
		j.add(verdict.Finding{Code: "limit.output", Message: fmt.Sprintf(
			"the tests printed over %d MiB and were ended; something prints in a loop", r.Printed>>20), Test: j.open()})
	case gotool.StopMemory:
		j.add(verdict.Finding{Code: "limit.memory", Message: fmt.Sprintf(
			"the tests held %d MiB of memory and were ended; something grows without bound", r.Peak>>20), Test: j.open()})
	}
}

// open names the first test that began and has not ended.
func (j *judge) open() string {
	for _, name := range j.res.Report.Order {
		if t := j.res.Report.Tests[name]; t.Started > t.Ended {
			return name
		}
	}
	return ""
}

var goroutineHead = regexp.MustCompile(`(?m)^goroutine \d+[^\[\n]*\[([^\],]+)`)

// blocked says where the learner's goroutines stand in a dump of stacks.
func blocked(l *lesson.Lesson, dump string) string {
	frame := learnerFrame(l)
	count := map[string]int{}
	var order []string
	heads := goroutineHead.FindAllStringSubmatchIndex(dump, -1)
	for i, h := range heads {
		end := len(dump)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		for _, m := range frame.FindAllStringSubmatch(dump[h[0]:end], -1) {
			if strings.HasSuffix(m[1], "_test.go") {
				continue
			}
			at := fmt.Sprintf("%s:%s (%s)", m[1], m[2], dump[h[2]:h[3]])
			if count[at] == 0 {
				order = append(order, at)
			}
			count[at]++
			break
		}
	}
	var parts []string
	for _, at := range order[:min(3, len(order))] {
		parts = append(parts, fmt.Sprintf("%d %s at %s", count[at], plural(count[at], "goroutine", "goroutines"), at))
	}
	return strings.Join(parts, ", ")
}

func (j *judge) crash() {
	text := j.res.Report.Crash
	if text == "" || j.res.Stop != gotool.StopNone {
		return
	}
	first := strings.TrimSpace(strings.TrimSuffix(firstLine(text), " [recovered, repanicked]"))
	f := verdict.Finding{Code: "test.panic", Detail: text, Test: j.crashed()}
	// A bubble that a leaked goroutine keeps open panics at its end; where the
	// test has said what is wrong, that is the finding and this its echo.
	if strings.HasPrefix(first, "panic: deadlock: ") {
		if f.Test != "" && j.has(f.Test) {
			return
		}
		f.Code = "test.deadlock"
	}
	if strings.HasPrefix(first, "fatal error: all goroutines are asleep") {
		f.Code = "test.deadlock"
	}
	f.Message = "the tests came down with " + first
	if m := learnerFrame(j.lesson).FindStringSubmatch(text); m != nil {
		f.File = check.SourceFile(j.lesson, m[1])
		f.Line, _ = strconv.Atoi(m[2])
		f.Message += fmt.Sprintf(" (%s:%s)", m[1], m[2])
	} else if i := strings.Index(text, "/lessons/"+j.lesson.Slug+"/"); i < 0 && strings.HasPrefix(first, "panic: test timed out") {
		f.Code = "limit.time"
	}
	if n := j.unrun(); n > 0 {
		f.Message += fmt.Sprintf("; %d %s not run", n, plural(n, "test was", "tests were"))
	}
	j.add(f)
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

// forged finds lines that the testing package did not print.
func (j *judge) forged() {
	for _, name := range j.res.Report.Order {
		t := j.res.Report.Tests[name]
		top, _, _ := strings.Cut(name, "/")
		switch {
		case !slices.Contains(j.expected, top):
			j.add(verdict.Finding{Code: "report.forged", Message: fmt.Sprintf(
				"the output holds a line for %s, which is not among the tests; your code must not print lines that look like the test framework's", name)})
		case t.Started > 1 || t.Ended > 1 || t.Ended > t.Started:
			j.add(verdict.Finding{Code: "report.forged", Test: name, Message: fmt.Sprintf(
				"%s began %d and ended %d times by the output; your code must not print lines that look like the test framework's", name, t.Started, t.Ended)})
		}
	}
}

// accounts sees that every expected test ran to its end.
func (j *judge) accounts() {
	r := j.res.Report
	if r.Crash != "" || j.res.Stop != gotool.StopNone {
		return // said already
	}
	var never, cut []string
	for _, name := range j.expected {
		switch t := r.Tests[name]; {
		case t == nil || t.Started == 0:
			never = append(never, name)
		case t.Ended == 0:
			cut = append(cut, name)
		}
	}
	how := fmt.Sprintf("exit status %d", j.res.Status)
	if j.res.Signal != "" {
		how = j.res.Signal
	}
	switch {
	case len(cut) > 0:
		j.add(verdict.Finding{Code: "report.cut", Test: cut[0], Detail: string(r.Tail), Message: fmt.Sprintf(
			"the process ended (%s) in the middle of %s; something in your code ends it", how, cut[0])})
	case len(never) > 0:
		j.add(verdict.Finding{Code: "test.never_ran", Detail: string(r.Tail), Message: fmt.Sprintf(
			"%d of %d tests never ran: the process ended (%s) before %s; something in your code ends it", len(never), len(j.expected), how, never[0])})
	case len(j.found) > 0:
	case r.Final != "PASS" && j.res.Status == 0:
		j.add(verdict.Finding{Code: "report.cut", Detail: string(r.Tail), Message: "the report has no end although the process ended with status 0; something in your code ends it"})
	case r.Final == "PASS" && j.res.Status != 0 && j.res.Status != 66 && j.res.Signal == "":
		j.add(verdict.Finding{Code: "test.exit", Detail: string(r.Tail), Message: fmt.Sprintf("every test passed, and then the process ended with %s", how)})
	case r.Final != "PASS" && j.res.Status != 66 && j.res.Signal == "":
		j.add(verdict.Finding{Code: "test.exit", Detail: string(r.Tail), Message: fmt.Sprintf("the test process ended with %s", how)})
	}
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

var compileLine = regexp.MustCompile(`(?m)^(?:vet: )?(\S+\.go):(\d+)(?::\d+)?: (.+)$`)

// compileFindings reads the compiler's word. Nothing found means that the
// build failed for a reason that is not in the sources.
func compileFindings(c *candidate.Candidate, output string) []verdict.Finding {
	l := c.Lesson
	var found []verdict.Finding
	for _, m := range compileLine.FindAllStringSubmatch(output, -1) {
		if !strings.Contains(m[1], path.Join("lessons", l.Slug)+"/") || len(found) == 3 {
			continue
		}
		name := path.Base(m[1])
		line, _ := strconv.Atoi(m[2])
		f := verdict.Finding{Code: "build.compile", Stage: verdict.StageBuild, File: check.SourceFile(l, name), Line: line}
		if strings.HasSuffix(name, "_test.go") {
			if c.Untouched() {
				return nil
			}
			f.Message = fmt.Sprintf("the tests do not compile against your package: %s; keep the exported names as the README lists them", m[3])
		} else {
			f.Message = fmt.Sprintf("%s does not compile: %s", name, m[3])
		}
		found = append(found, f)
	}
	return found
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
