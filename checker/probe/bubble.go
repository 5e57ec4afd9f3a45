package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// still is how long fake time may stand still by the clock on the wall.
var still = Patience{Full: 4 * time.Second, Short: 400 * time.Millisecond}

// Bubble runs f in fake time, and then lets what f left behind come to its
// end, for as long as rest. Two things make a finding of the code: goroutines
// that even then wait, and fake time that stands still, because somebody waits
// for a lock whose holder waits for time to pass.
func Bubble(t *testing.T, code string, rest time.Duration, f func(t *testing.T)) {
	t.Helper()
	ended := make(chan any, 1)
	go func() {
		defer func() { ended <- recover() }()
		synctest.Test(t, func(t *testing.T) {
			defer time.Sleep(rest)
			f(t)
		})
	}()
	limit := still.Limit()
	select {
	case p := <-ended:
		if p != nil {
			Fatalf(t, code, "goroutines are left that wait for good: %v.", p)
		}
	case <-time.After(limit):
		still.InVain()
		Fatalf(t, code, "fake time stood still for %v: a goroutine runs in circles, or waits for a lock that is held during a call.", limit)
	}
}

// outcome begins the line by which a scene says what it saw.
const outcome = "outcome "

// Scenes runs the tests, or in a subprocess one of the scenes that [Play]
// asks for. A scene plays in a process of its own, so that code that panics or
// stands still takes no test along, and within it in a synctest bubble: time
// is fake and passes when nothing else can happen, so that what has not come
// after a minute never comes, and the minute costs nothing. Call it from
// TestMain; it does not return.
func Scenes[O any](m *testing.M, scenes map[string]func() O) {
	programs := map[string]func() int{}
	for name, scene := range scenes {
		programs[name] = func() int {
			// What goroutines still do when the scene is over is no concern of
			// ours, so the process ends inside the bubble.
			testing.Main(func(_, _ string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: name, F: func(t *testing.T) {
				synctest.Test(t, func(*testing.T) {
					b, err := json.Marshal(scene())
					if err != nil {
						panic(err)
					}
					fmt.Printf("\n%s%s\n", outcome, b)
					os.Exit(0)
				})
			}}}, nil, nil)
			return 1
		}
	}
	Main(m, programs)
}

var (
	crashLine = regexp.MustCompile(`(?m)^(panic|fatal error): .*`)
	raceFrame = regexp.MustCompile(`/lessons/[^/\s]+/([\w.]+\.go:\d+)`)
)

// Play plays a scene of [Scenes] and returns what it saw. It ends the test
// where the scene does not come to its end: with prefix.crash where the process
// came down, with prefix.hang where it does not end, see stuck. A data race on
// the way is race.data.
func Play[O any](t *testing.T, name, prefix string, limit time.Duration) (o O) {
	t.Helper()
	p := Start(t, name)
	ctx, cancel := p.stuck(limit)
	defer cancel()
	p.report = outcome
	line, err := p.Line(ctx, outcome)
	if err == nil {
		_, err = p.Wait(ctx)
	}
	out := p.Output()
	if _, report, found := strings.Cut(out, "WARNING: DATA RACE"); found {
		at := "a place that the report does not name"
		for _, m := range raceFrame.FindAllStringSubmatch(report, -1) {
			if !strings.Contains(m[1], "_test.go") {
				at = m[1]
				break
			}
		}
		Errorf(t, "race.data", "the race detector reports a data race, first seen at %s.", at)
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		Fatalf(t, prefix+".hang", "goroutines wait for a lock or run in circles: %v.", context.Cause(ctx))
	default:
		Fatalf(t, prefix+".crash", "the process came down with %q.", crashLine.FindString(out))
	}
	if err := json.Unmarshal([]byte(line), &o); err != nil {
		t.Fatalf("outcome %q: %v", line, err)
	}
	return o
}
