package broadcast_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pitstop/checker/probe"
	broadcast "pitstop/lessons/05_broadcast"
)

// A scene plays in a process of its own, so that a hub that panics or stands
// still takes no test along. Within, it plays in a synctest bubble: time is
// fake and passes when nothing else can happen, so that a minute of waiting
// costs nothing and what has not come by then never comes.
var scenes = map[string]func() outcome{
	"one never reads":   oneNeverReads,
	"one reads late":    oneReadsLate,
	"one comes late":    oneComesLate,
	"contexts end":      contextsEnd,
	"the hub is closed": hubIsClosed,
}

// patience is how long a scene may take by the clock on the wall. Only one that
// hangs ever takes so long.
const patience = 5 * time.Second

// long is how long a scene waits, in its own time, for what should come.
const long = time.Minute

func TestMain(m *testing.M) {
	programs := map[string]func() int{}
	for name, scene := range scenes {
		programs[name] = func() int {
			testing.Main(func(_, _ string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: name, F: func(t *testing.T) {
				synctest.Test(t, func(*testing.T) {
					b, err := json.Marshal(scene())
					if err != nil {
						panic(err)
					}
					fmt.Printf("\noutcome %s\n", b)
					os.Exit(0)
				})
			}}}, nil, nil)
			return 1
		}
	}
	probe.Main(m, programs)
}

// play plays a scene. It ends the test where the scene does not come to its end.
func play(t *testing.T, name string) (o outcome) {
	t.Helper()
	return playFor(t, name, patience)
}

// playFor is play with another patience, for a scene with much to do.
func playFor(t *testing.T, name string, patience time.Duration) (o outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p := probe.Start(t, name)
	line, err := p.Line(ctx, "outcome ")
	if err == nil {
		_, err = p.Wait(ctx)
	}
	out := p.Output()
	if _, report, found := strings.Cut(out, "WARNING: DATA RACE"); found {
		at := regexp.MustCompile(`hub[\w.]*\.go:\d+`).FindString(report)
		probe.Errorf(t, "race.data", "the race detector reports a data race, first seen at %s (%s).", at, name)
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		probe.Fatalf(t, "broadcast.hang", "after %v goroutines still wait for a lock whose holder waits, or run in circles (%s).", patience, name)
	default:
		cause := regexp.MustCompile(`(?m)^(panic|fatal error): .*`).FindString(out)
		probe.Fatalf(t, "broadcast.crash", "the process came down with %q (%s).", cause, name)
	}
	if err := json.Unmarshal([]byte(line), &o); err != nil {
		t.Fatalf("outcome %q: %v", line, err)
	}
	return o
}

// outcome is what a scene saw.
type outcome struct {
	Calls  int           // of Publish
	Stuck  int           // of these, that had not returned when nothing moved
	Waited time.Duration // all together
	Failed string        // the error of one

	Wanted    int           // values that readers should have got
	Missed    int           // of these, that they have not
	Lag       time.Duration // the longest from Publish to a reader
	Backwards int           // values that came after a newer one
	Twice     int           // values that came again

	Newest int // version that was published last
	Found  []int
	Open   int // channels that should be closed and are not

	Left  int // goroutines that should have gone
	Where string
	Note  string
}

// settings are what the hub hands on.
type settings struct {
	By      int // who published them
	Version int
	At      time.Time
}

// house is a hub with those who use it.
type house struct {
	hub  *broadcast.Hub[settings]
	base int // goroutines of the hub's that may stay

	mu sync.Mutex
	o  outcome
}

func open() *house {
	return &house{hub: broadcast.New(settings{Version: 1}), o: outcome{Newest: 1}}
}

// publish publishes the next versions, and waits until nothing moves.
func (h *house) publish(n int) {
	h.o.Calls += n
	from := h.o.Newest
	h.o.Newest += n
	returned := 0
	go func() {
		for i := range n {
			began := time.Now()
			err := h.hub.Publish(settings{Version: from + 1 + i, At: began})
			h.mu.Lock()
			returned++
			h.o.Waited += time.Since(began)
			if err != nil {
				h.o.Failed = err.Error()
			}
			h.mu.Unlock()
		}
	}()
	settle()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.o.Stuck += n - returned
}

// mostSeen is where a reader stops, who gets one value over and over.
const mostSeen = 3000

// reader is one that reads all the time.
type reader struct {
	mu     sync.Mutex
	seen   []settings
	lag    time.Duration
	closed bool
	leave  context.CancelFunc
}

func (h *house) read() *reader {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{leave: cancel}
	ch := h.hub.Subscribe(ctx)
	go func() {
		for s := range ch {
			r.mu.Lock()
			r.seen = append(r.seen, s)
			if !s.At.IsZero() {
				r.lag = max(r.lag, time.Since(s.At))
			}
			enough := len(r.seen) > mostSeen
			r.mu.Unlock()
			if enough {
				return
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.closed = true
	}()
	return r
}

// judge counts what r has missed of the versions from, to and between, and what
// has come late or in the wrong order. Each publisher counts its own versions.
func (h *house) judge(r *reader, from, to int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	had, last := map[settings]bool{}, map[int]int{}
	for _, s := range r.seen {
		s.At = time.Time{}
		switch {
		case had[s]:
			h.o.Twice++
		case s.Version < last[s.By]:
			h.o.Backwards++
		}
		had[s], last[s.By] = true, max(last[s.By], s.Version)
	}
	h.o.Lag = max(h.o.Lag, r.lag)
	for v := from; v <= to; v++ {
		h.o.Wanted++
		if !had[settings{Version: v}] {
			h.o.Missed++
		}
	}
}

// find reads what is there, and notes the versions. It reports whether the
// channel was closed behind them.
func (h *house) find(ch <-chan settings) (closed bool) {
	for range 20 {
		select {
		case s, ok := <-ch:
			if !ok {
				return true
			}
			h.o.Found = append(h.o.Found, s.Version)
		case <-time.After(long):
			return false
		}
	}
	return false
}

// settle waits until nothing moves, and then for long more.
func settle() {
	synctest.Wait()
	time.Sleep(long)
	synctest.Wait()
}

// left counts the hub's goroutines.
func (h *house) left() {
	settle()
	gs := standing()
	h.o.Left, h.o.Where = max(len(gs)-h.base, 0), probe.Where(gs)
}

var ours = regexp.MustCompile(`pitstop/lessons/05_broadcast[./][^\n]*\n\t\S*/(\S+\.go:\d+)`)

// standing lists the goroutines that the hub has started or that are in it.
func standing() (gs []probe.Goroutine) {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	for _, block := range strings.Split(string(buf), "\n\n")[1:] { // the first is this one
		at := ours.FindStringSubmatch(block)
		if at == nil {
			continue
		}
		_, state, _ := strings.Cut(block, "[")
		state, _, _ = strings.Cut(state, " (durable)")
		gs = append(gs, probe.Goroutine{State: state, At: at[1]})
	}
	return gs
}

// outcome gives what was seen, while others may still be at work.
func (h *house) outcome() outcome {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.o
}
