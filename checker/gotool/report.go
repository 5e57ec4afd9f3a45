package gotool

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pitstop/checker/probe/wire"
)

// marker begins each line of the testing package's own in -test.v=test2json.
// It may stand in mid-line, where a program printed without a newline.
const marker = 0x16

// What is kept of a run that prints without end. The first race report and
// the first crash are kept whole, whatever is printed after them; of a test's
// output the beginning and the end, because a failure is said last.
const (
	keepHead   = 24 << 10
	keepEnd    = 8 << 10
	keepRace   = 16 << 10
	keepCrash  = 64 << 10
	keepTail   = 4 << 10
	keepRaces  = 3
	keepMarked = 1 << 20 // one line of the testing package's own, as a finding is
)

// Report is what one test binary said, read in one pass. It trusts nothing:
// a program can print whatever the testing package can.
type Report struct {
	Tests  map[string]*Test // by full name, subtests included
	Order  []string         // names in order of first sight
	Final  string           // PASS, FAIL, or empty where the report was cut short
	Finals int              // how often it said so: 1, unless somebody forged lines
	Late   string           // the first test that began after the final word
	Races  []string         // the first race reports, each whole
	RaceIn []string         // for each of them the test that was running, where known
	Crash  string           // from the first panic or fatal error on; also what a program printed that looks like one
	Tail   []byte           // the last of what no test printed

	current string
	race    []byte
	inRace  bool
	inLine  bool   // the last chunk did not end its line
	pending []byte // a line of the testing package's own that is not whole yet
	resumed bool   // a test's line followed the crash, so what follows is no part of it
	maybe   []byte // from a panic in mid-line on, until a stack shows that it is one
}

// Test is one test or subtest of a report.
type Test struct {
	Name     string
	Started  int // how often it said it began: 1, unless somebody forged lines
	Ended    int
	Failed   int    // of those that ended
	Result   string // pass, fail, skip; the last one said
	Seconds  float64
	Output   []byte
	Findings []wire.Finding
	Evidence []wire.Evidence

	end  []byte // the last of the output, once Output is full
	left int    // bytes that are in neither
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

// line takes one line, or where more is set a part of a long one.
func (r *Report) line(b []byte, more bool) {
	if r.pending != nil {
		if len(r.pending)+len(b) <= keepMarked {
			r.pending = append(r.pending, b...)
		}
		if !more {
			whole := r.pending
			r.pending = nil
			r.marked(whole)
		}
		return
	}
	if i := bytes.IndexByte(b, marker); i >= 0 {
		if i > 0 {
			r.text(b[:i], true)
		}
		if more {
			r.pending = slices.Clone(b[i:])
		} else {
			r.marked(b[i:])
		}
		return
	}
	r.text(b, more)
}

var crashWords = [][]byte{[]byte("panic: "), []byte("fatal error: "), []byte("SIGQUIT: ")}

func isCrash(text []byte) bool {
	return slices.ContainsFunc(crashWords, func(w []byte) bool { return bytes.HasPrefix(text, w) })
}

var stackHead = regexp.MustCompile(`^goroutine \d+ .*\[.+\]:$`)

// text takes what is not the testing package's own.
func (r *Report) text(b []byte, more bool) {
	started := !r.inLine
	r.inLine = more
	if len(b) == 0 {
		return
	}
	line := bytes.TrimRight(b, "\r\n")
	switch {
	case started && !r.inRace && string(line) == "WARNING: DATA RACE":
		r.inRace, r.race = true, slices.Clone(b)
		return
	case r.inRace:
		if string(line) == "==================" {
			r.endRace()
		} else if len(r.race)+len(b) <= keepRace {
			r.race = append(r.race, b...)
		}
		return
	}
	r.crash(b, line, started)
	if t := r.Tests[r.current]; t != nil {
		t.print(b)
		return
	}
	r.Tail = append(r.Tail, b...)
	if len(r.Tail) > 2*keepTail {
		r.Tail = slices.Clone(r.Tail[len(r.Tail)-keepTail:])
	}
}

// crash keeps what follows a panic. A program may print such a line of its
// own accord, so a later one takes its place until there are stacks.
func (r *Report) crash(b, line []byte, started bool) {
	quit := bytes.HasPrefix(line, []byte("SIGQUIT: "))
	switch {
	case started && isCrash(line) && (quit || r.resumed || !strings.Contains(r.Crash, "\ngoroutine ")):
		r.Crash, r.resumed = string(b), false
	case r.Crash != "" && !r.resumed:
		if len(r.Crash)+len(b) <= keepCrash {
			r.Crash += string(b)
		}
	case r.maybe != nil && started && stackHead.Match(line):
		r.Crash, r.resumed, r.maybe = string(r.maybe)+string(b), false, nil
	case r.maybe != nil && len(r.maybe) < keepTail:
		r.maybe = append(r.maybe, b...)
	default:
		r.maybe = nil
		for _, w := range crashWords {
			if i := bytes.LastIndex(line, w); i > 0 {
				r.maybe = slices.Clone(b[i:])
			}
		}
	}
}

func (t *Test) print(b []byte) {
	room := keepHead - len(t.Output)
	if n := min(max(room, 0), len(b)); n > 0 {
		t.Output, b = append(t.Output, b[:n]...), b[n:]
	}
	t.end = append(t.end, b...)
	if len(t.end) > 2*keepEnd {
		t.left += len(t.end) - keepEnd
		t.end = slices.Clone(t.end[len(t.end)-keepEnd:])
	}
}

func (r *Report) endRace() {
	r.inRace = false
	if len(r.Races) < keepRaces {
		r.Races = append(r.Races, string(r.race))
		r.RaceIn = append(r.RaceIn, r.current)
	}
	r.race = nil
}

var endLine = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)$`)

// marked takes a line that begins with the marker. One that the testing
// package does not print is a program's own.
func (r *Report) marked(b []byte) {
	s := strings.TrimRight(string(b[1:]), "\r\n")
	r.inLine = false
	if m := endLine.FindStringSubmatch(s); m != nil {
		r.goOn()
		t := r.test(m[2])
		t.Ended++
		t.Result = strings.ToLower(m[1])
		if t.Result == "fail" {
			t.Failed++
		}
		t.Seconds, _ = strconv.ParseFloat(m[3], 64)
		r.current = m[2] // a panic's text follows its test's end
		return
	}
	if s == "PASS" || s == "FAIL" {
		r.goOn()
		r.Final = s
		r.Finals++
		r.current = ""
		return
	}
	rest, framed := strings.CutPrefix(s, "=== ")
	action, rest, ok := strings.Cut(rest, " ")
	if !framed || !ok {
		r.text(b, false)
		return
	}
	r.goOn()
	name, rest, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	r.current = name
	if name == "" {
		return
	}
	switch action {
	case "RUN":
		if r.Final != "" && r.Late == "" {
			r.Late = name
		}
		r.test(name).Started++
	case "ATTR":
		key, value, _ := strings.Cut(rest, " ")
		r.test(name).attr(key, value)
	}
}

// goOn notes that the tests go on after what looked like a crash.
func (r *Report) goOn() {
	r.resumed = r.Crash != ""
	r.maybe = nil
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

// close ends what was open when the stream ended, and joins what was kept of
// each test's output.
func (r *Report) close() {
	if r.pending != nil {
		r.marked(r.pending)
		r.pending = nil
	}
	if r.inRace {
		r.endRace()
	}
	for _, t := range r.Tests {
		if n := len(t.end); n > keepEnd {
			t.left += n - keepEnd
			t.end = t.end[n-keepEnd:]
		}
		if t.left > 0 {
			t.Output = fmt.Appendf(t.Output, "\n… %d bytes are left out here …\n", t.left)
		}
		t.Output = append(t.Output, t.end...)
		t.end, t.left = nil, 0
	}
}
