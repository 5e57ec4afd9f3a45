package gotool

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"pitstop/checker/probe/wire"
)

// marker begins each line of the testing package's own in -test.v=test2json.
const marker = 0x16

// What is kept of a run that prints without end. The first race report and
// the first crash are kept whole, whatever is printed after them.
const (
	keepTest  = 32 << 10
	keepRace  = 16 << 10
	keepCrash = 64 << 10
	keepTail  = 4 << 10
	keepRaces = 3
)

// Report is what one test binary said, read in one pass.
type Report struct {
	Tests map[string]*Test // by full name, subtests included
	Order []string         // names in order of first sight
	Final string           // PASS, FAIL, or empty where the report was cut short
	Races []string         // the first race reports, each whole
	Crash string           // from the first panic or fatal error on
	Tail  []byte           // the last of what no test printed

	current string
	race    []byte
	inRace  bool
	inLine  bool // the last chunk did not end its line
}

// Test is one test or subtest of a report.
type Test struct {
	Name     string
	Started  int // how often it said it began: 1, unless somebody forged lines
	Ended    int
	Result   string // pass, fail, skip; the last one said
	Seconds  float64
	Output   []byte
	Findings []wire.Finding
	Evidence []wire.Evidence
}

func newReport() *Report { return &Report{Tests: map[string]*Test{}} }

func (r *Report) test(name string) *Test {
	t := r.Tests[name]
	if t == nil {
		t = &Test{Name: name}
		r.Tests[name] = t
		r.Order = append(r.Order, name)
	}
	return t
}

var endLine = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)`)

// line takes one line, or where more is set the first part of a long one.
func (r *Report) line(b []byte, more bool) {
	started := !r.inLine
	r.inLine = more
	if len(b) == 0 {
		return
	}
	if started && b[0] == marker {
		r.marked(strings.TrimRight(string(b[1:]), "\r\n"))
		return
	}
	text := bytes.TrimRight(b, "\r\n")
	switch {
	case started && !r.inRace && string(text) == "WARNING: DATA RACE":
		r.inRace, r.race = true, nil
		r.race = append(r.race, b...)
		return
	case r.inRace:
		if string(text) == "==================" {
			r.endRace()
		} else if len(r.race)+len(b) <= keepRace {
			r.race = append(r.race, b...)
		}
		return
	case r.Crash != "":
		if len(r.Crash)+len(b) <= keepCrash {
			r.Crash += string(b)
		}
		return
	case started && (bytes.HasPrefix(text, []byte("panic: ")) || bytes.HasPrefix(text, []byte("fatal error: ")) || bytes.HasPrefix(text, []byte("SIGQUIT: "))):
		r.Crash = string(b)
		return
	}
	if t := r.Tests[r.current]; t != nil {
		if room := keepTest - len(t.Output); room > 0 {
			t.Output = append(t.Output, b[:min(room, len(b))]...)
		}
		return
	}
	r.Tail = append(r.Tail, b...)
	if len(r.Tail) > 2*keepTail {
		r.Tail = append([]byte(nil), r.Tail[len(r.Tail)-keepTail:]...)
	}
}

func (r *Report) endRace() {
	r.inRace = false
	if len(r.Races) < keepRaces {
		r.Races = append(r.Races, string(r.race))
	}
	r.race = nil
}

// marked takes a line of the testing package's own.
func (r *Report) marked(s string) {
	if m := endLine.FindStringSubmatch(strings.TrimLeft(s, " ")); m != nil {
		t := r.test(m[2])
		t.Ended++
		t.Result = strings.ToLower(m[1])
		t.Seconds, _ = strconv.ParseFloat(m[3], 64)
		r.current = m[2] // a panic's text follows its test's end
		return
	}
	if s == "PASS" || s == "FAIL" {
		r.Final = s
		r.current = ""
		return
	}
	action, rest, ok := strings.Cut(strings.TrimPrefix(s, "=== "), " ")
	if !ok || !strings.HasPrefix(s, "=== ") {
		return
	}
	name, rest, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	r.current = name
	if name == "" {
		return
	}
	switch action {
	case "RUN":
		r.test(name).Started++
	case "ATTR":
		key, value, _ := strings.Cut(rest, " ")
		r.test(name).attr(key, value)
	}
}

func (t *Test) attr(key, value string) {
	switch key {
	case wire.FindingKey:
		var f wire.Finding
		if json.Unmarshal([]byte(value), &f) == nil && f.Code != "" {
			t.Findings = append(t.Findings, f)
		}
	case wire.EvidenceKey:
		var e wire.Evidence
		if json.Unmarshal([]byte(value), &e) == nil && e.Name != "" {
			t.Evidence = append(t.Evidence, e)
		}
	}
}

// end closes what was open when the stream ended.
func (r *Report) end() {
	if r.inRace {
		r.endRace()
	}
}
