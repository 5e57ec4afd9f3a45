package gotest

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"pitstop/checker/check"
	"pitstop/checker/lesson"
)

var (
	access        = regexp.MustCompile(`(?m)^(Previous )?([Rr]ead|[Ww]rite|[Aa]tomic read|[Aa]tomic write) at 0x[0-9a-f]+ by ([^:\n]+):`)
	goroutineHead = regexp.MustCompile(`(?m)^goroutine \d+[^\[\n]*\[([^\],]+)`)
)

func learnerFrame(l *lesson.Lesson) *regexp.Regexp {
	return regexp.MustCompile(`/lessons/` + regexp.QuoteMeta(l.Slug) + `/([\w.-]+\.go):(\d+)`)
}

// place is where goroutines stand.
type place struct {
	name  string // of the file within the lesson's folder
	line  int    // 0 where it is not known
	fn    string // the function, where there is no line
	state string // chan receive, running, …
	count int
}

func (p place) at() string {
	if p.line == 0 {
		return fmt.Sprintf("%s in %s", p.name, p.fn)
	}
	return fmt.Sprintf("%s:%d", p.name, p.line)
}

// raceSentence names the two places that touch the same memory, and returns
// the first of them.
func raceSentence(l *lesson.Lesson, report string) (string, place) {
	at := access.FindAllStringSubmatchIndex(report, -1)
	frame := learnerFrame(l)
	var places []string
	var first place
	for i, m := range at {
		end := len(report)
		if i+1 < len(at) {
			end = at[i+1][0]
		} else if k := strings.Index(report[m[0]:], "\n\n"); k >= 0 {
			end = m[0] + k
		}
		fm := frame.FindStringSubmatch(report[m[0]:end])
		if fm == nil {
			continue
		}
		p := place{name: fm[1]}
		p.line, _ = strconv.Atoi(fm[2])
		if len(places) == 0 {
			first = p
		}
		places = append(places, fmt.Sprintf("%s (%s)", p.at(), strings.ToLower(report[m[4]:m[5]])))
	}
	const nothing = "touch the same memory with nothing between them"
	switch len(places) {
	case 0:
		return "two goroutines " + nothing + ", at least one of them writing; the stacks say where", first
	case 1:
		return fmt.Sprintf("two goroutines %s, at least one of them writing, and one is at %s; the stacks show the other", nothing, places[0]), first
	default:
		return fmt.Sprintf("two goroutines %s: %s and %s", nothing, places[0], places[1]), first
	}
}

// stand says where the learner's goroutines are in a dump of stacks, each
// counted once, at the frame nearest to its top that is not a test's.
func stand(l *lesson.Lesson, dump string) []place {
	frame := learnerFrame(l)
	var list []place
next:
	for _, b := range blocks(dump) {
		for _, m := range frame.FindAllStringSubmatchIndex(b.text, -1) {
			p := place{name: b.text[m[2]:m[3]], state: b.state, count: 1}
			if strings.HasSuffix(p.name, "_test.go") {
				continue
			}
			p.line, _ = strconv.Atoi(b.text[m[4]:m[5]])
			if p.line == 1 { // the jump of an empty loop belongs to no line
				p.line, p.fn = 0, function(b.text[:m[0]])
			}
			for i, q := range list {
				if q.at() == p.at() && q.state == p.state {
					list[i].count++
					continue next
				}
			}
			list = append(list, p)
			continue next
		}
	}
	return list
}

// function is the name of the function whose frame a dump ends in, without
// its package.
func function(dump string) string {
	lines := strings.Split(dump, "\n")
	if len(lines) < 2 {
		return ""
	}
	name := path.Base(lines[len(lines)-2])
	if _, rest, ok := strings.Cut(name, "."); ok {
		name = rest
	}
	if i := strings.LastIndexByte(name, '('); i > 0 {
		name = name[:i]
	}
	return name
}

// blocked puts in words where the learner's goroutines stand.
func blocked(list []place) string {
	var parts []string
	for _, p := range list[:min(3, len(list))] {
		parts = append(parts, fmt.Sprintf("%d %s at %s (%s)", p.count, plural(p.count, "goroutine", "goroutines"), p.at(), p.state))
	}
	if n := len(list) - len(parts); n > 0 {
		parts = append(parts, fmt.Sprintf("%d more %s", n, plural(n, "place", "places")))
	}
	return strings.Join(parts, ", ")
}

// panicked is where the goroutine that brought the process down stands: in
// the learner's code if it passed there, else in a test's.
func panicked(l *lesson.Lesson, dump string) (place, bool) {
	all := blocks(dump)
	if len(all) == 0 {
		return place{}, false
	}
	// What created the goroutine is not where it stands.
	text, _, _ := strings.Cut(all[0].text, "\ncreated by ")
	var first *place
	for _, m := range learnerFrame(l).FindAllStringSubmatch(text, -1) {
		p := place{name: m[1]}
		p.line, _ = strconv.Atoi(m[2])
		if !strings.HasSuffix(p.name, "_test.go") {
			return p, true
		}
		if first == nil {
			first = &p
		}
	}
	if first == nil {
		return place{}, false
	}
	return *first, true
}

type block struct{ state, text string }

// blocks cuts a dump into goroutines.
func blocks(dump string) []block {
	heads := goroutineHead.FindAllStringSubmatchIndex(dump, -1)
	var list []block
	for i, h := range heads {
		end := len(dump)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		state := dump[h[2]:h[3]]
		switch state {
		case "runnable", "preempted", "copystack":
			state = "running" // it would, if it had a thread just then
		}
		list = append(list, block{state: state, text: dump[h[0]:end]})
	}
	return list
}

// file names a place's file within the workshop.
func (p place) file(l *lesson.Lesson) string { return check.SourceFile(l, p.name) }
