package probe

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Goroutine is one goroutine that outlived its welcome.
type Goroutine struct {
	State string // chan receive, select, sleep, …
	Func  string // the first function of this module on its stack
	At    string // file.go:line of that function
	Stack string
}

// Baseline remembers the goroutines that run now. The function it returns
// reports those that run later and did not then. It waits for stragglers
// while they end, up to wait, so that a goroutine on its way out is not
// called a leak; a test inside a synctest bubble must not use it.
func Baseline() func(t testing.TB, wait time.Duration) []Goroutine {
	current := goleak.IgnoreCurrent()
	return func(t testing.TB, wait time.Duration) []Goroutine {
		t.Helper()
		deadline := time.Now().Add(wait)
		for {
			err := goleak.Find(current)
			if err == nil {
				return nil
			}
			if time.Now().After(deadline) {
				return parseLeaks(err.Error())
			}
		}
	}
}

// Where says where the goroutines stand: "2 at pool.go:41 (chan receive), 1 at
// pool.go:60 (select)". The order is that of first sight.
func Where(gs []Goroutine) string {
	type place struct{ at, state string }
	var order []place
	count := map[place]int{}
	for _, g := range gs {
		p := place{g.At, g.State}
		if count[p] == 0 {
			order = append(order, p)
		}
		count[p]++
	}
	var parts []string
	for _, p := range order {
		parts = append(parts, fmt.Sprintf("%d at %s (%s)", count[p], p.at, p.state))
	}
	return strings.Join(parts, ", ")
}

var (
	leakHead  = regexp.MustCompile(`Goroutine \d+ in state ([^,]+), with `)
	frameFile = regexp.MustCompile(`^\t(.+\.go):(\d+)`)
)

// parseLeaks reads goleak's report: one block a goroutine, each a head line
// and a stack of function lines, every one followed by a line with its file.
func parseLeaks(report string) []Goroutine {
	heads := leakHead.FindAllStringSubmatchIndex(report, -1)
	var gs []Goroutine
	for i, h := range heads {
		end := len(report)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		g := Goroutine{State: report[h[2]:h[3]], Stack: report[h[0]:end]}
		lines := strings.Split(g.Stack, "\n")
		for j, line := range lines {
			m := frameFile.FindStringSubmatch(line)
			if m == nil || j == 0 {
				continue
			}
			fn := strings.TrimPrefix(lines[j-1], "created by ")
			at := path.Base(m[1]) + ":" + m[2]
			if g.At == "" {
				g.Func, g.At = fn, at // the top frame, until one of ours is found
			}
			if strings.HasPrefix(fn, "pitstop/lessons/") {
				g.Func, g.At = fn, at
				break
			}
		}
		gs = append(gs, g)
	}
	return gs
}
