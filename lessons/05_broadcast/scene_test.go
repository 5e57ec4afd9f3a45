package broadcast_test

import (
	"context"
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

// scenes play in processes and bubbles of their own.
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

func TestMain(m *testing.M) { probe.Scenes(m, scenes) }

// play plays a scene. It ends the test where the scene does not come to its end.
func play(t *testing.T, name string) outcome {
	t.Helper()
	return playFor(t, name, patience)
}

// playFor is play with another patience, for a scene with much to do.
func playFor(t *testing.T, name string, patience time.Duration) outcome {
	t.Helper()
	return probe.Play[outcome](t, name, "broadcast", patience)
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
