package gotest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"pitstop/checker/verdict"
)

const notYours = "your code must not print lines that look like the test framework's"

// forged finds lines that the testing package did not print.
func (j *judge) forged() {
	r := j.res.Report
	forge := func(test, format string, args ...any) {
		j.add(verdict.Finding{Code: "report.forged", Test: test, Message: fmt.Sprintf(format, args...) + "; " + notYours})
	}
	for _, name := range r.Order {
		t := r.Tests[name]
		switch {
		case !slices.Contains(j.expected, top(name)):
			forge("", "the output holds a line for %s, which is not among the tests", name)
		case t.Started > 1 || t.Ended > 1 || t.Ended > t.Started:
			forge(name, "%s began %d and ended %d times by the output", name, t.Started, t.Ended)
		}
	}
	switch {
	case r.Finals > 1:
		forge("", "the output says %d times that all tests have ended", r.Finals)
	case r.Late != "":
		forge(r.Late, "%s began after the output said that all tests had ended", r.Late)
	case bytes.Contains(r.Tail, []byte("testing: warning: no tests to run")) && len(r.Order) > 0:
		forge("", "the output holds %d tests, and the test framework says that it ran none", len(r.Order))
	}
}

// accounts sees that every expected test ran to its end, and the process to
// its own.
func (j *judge) accounts() {
	r := j.res.Report
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
	why := "look for what ends the process, as log.Fatal does, and return an error instead"
	if j.res.Signal != "" {
		how = "signal: " + j.res.Signal
		why = "either your code sent that signal, or the system ran out of memory"
	}
	f := verdict.Finding{Detail: string(r.Tail)}
	switch {
	case len(cut) > 0:
		f.Code, f.Test = "report.cut", cut[0]
		f.Detail = string(r.Tests[cut[0]].Output)
		f.Message = fmt.Sprintf("the process ended (%s) in the middle of %s; %s", how, cut[0], why)
	case len(never) > 0 && r.Final != "":
		f.Code = "test.never_ran"
		f.Message = fmt.Sprintf("%d of %d tests never ran, %s the first of them, and yet the run came to its end; something in your code chooses what runs, take it away", len(never), len(j.expected), never[0])
	case len(never) > 0:
		f.Code = "test.never_ran"
		if len(never) == len(j.expected) && j.res.Signal == "" {
			why = "something that runs at the start, as an init function or a package variable, ends the process; take it away or return an error"
		}
		f.Message = fmt.Sprintf("%d of %d tests never ran: the process ended (%s) before %s; %s", len(never), len(j.expected), how, never[0], why)
	case len(j.found) > 0 || j.res.Status == 66:
		return
	case r.Final != "PASS":
		f.Code = "report.cut"
		f.Message = fmt.Sprintf("every test ended, and then the process did (%s) before the report was closed; %s", how, why)
	case j.res.Status != 0 || j.res.Signal != "":
		f.Code = "test.exit"
		f.Message = fmt.Sprintf("every test passed, and then the process ended with %s; %s", how, why)
	default:
		return
	}
	if words := lastWords(f.Detail); words != "" {
		f.Message += fmt.Sprintf(". The last it printed: %q", words)
	}
	j.add(f)
}

// lastWords is the last line of an output that says anything.
func lastWords(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	return clip(strings.TrimSpace(lines[len(lines)-1]))
}
