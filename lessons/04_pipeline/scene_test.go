package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pitstop/checker/probe"
	pipeline "pitstop/lessons/04_pipeline"
	"pitstop/lessons/dispatch"
)

// scenes play in processes and bubbles of their own.
var scenes = map[string]func() outcome{
	"ordinary": ordinary,
	"panics":   panics,
	"width":    width,
	"leaves":   leaves,
	"idle":     idle,
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
	return probe.Play[outcome](t, name, "pipeline", patience)
}

// outcome is what a scene saw.
type outcome struct {
	Offered int // events
	Taken   int // of these, by the pipeline
	AtWork  int // events in Handle, and
	Ahead   int // events taken, before the first result was read
	Results int

	Lost    int // events without a result, and without OnDrop once ctx had ended
	TooSoon int // calls of OnDrop before ctx had ended
	Twice   int // events that had more than one answer
	Unnamed int // results of no event that was offered
	Wrong   int // results that are not what Handle gave
	Peak    int // most calls of Handle at once
	Late    int // calls of Handle that began after ctx had ended
	Misled  int // calls of Handle whose context was not as alive as ctx

	Ended  bool // the context
	Closed bool
	Early  bool // closed before Handle and OnDrop had returned
	Left   int  // goroutines
	Where  string
	Note   string
}

var errNoRoute = errors.New("no route to this street")

// desk is one call of Run with what becomes of its events. Their kind says how
// they are handled.
type desk struct {
	events  chan dispatch.Event
	results <-chan pipeline.Result
	ctx     context.Context
	end     context.CancelFunc
	gate    chan struct{} // closed: events of kind "held" go on
	base    int           // goroutines before Run

	mu       sync.Mutex
	offered  map[string]string // kind by ID
	answered map[string]int    // results and drops by ID
	inHandle int
	inDrop   int
	o        outcome
}

const workers = 4

// open makes a pipeline of four workers and a desk with room for n events.
func open(n int) *desk {
	d := newDesk(n)
	d.run(pipeline.New(d.config(workers)))
	return d
}

func newDesk(n int) *desk {
	d := &desk{
		events: make(chan dispatch.Event, n), gate: make(chan struct{}),
		offered: map[string]string{}, answered: map[string]int{},
	}
	d.ctx, d.end = context.WithCancel(context.Background())
	return d
}

func (d *desk) config(workers int) pipeline.Config {
	return pipeline.Config{Workers: workers, Handle: d.handle, OnDrop: d.drop}
}

func (d *desk) run(p *pipeline.Pipeline) {
	d.base = runtime.NumGoroutine()
	d.results = p.Run(d.ctx, d.events)
}

// offer puts n events of a kind on the desk, where there must be room.
func (d *desk) offer(n int, kind string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for range n {
		id := fmt.Sprintf("e%d", len(d.offered))
		d.offered[id] = kind
		d.events <- dispatch.Event{ID: id, Order: "order of " + id, Kind: kind}
	}
}

func (d *desk) handle(ctx context.Context, e dispatch.Event) (string, error) {
	d.mu.Lock()
	if d.ctx.Err() != nil {
		d.o.Late++
	}
	d.inHandle++
	d.o.Peak = max(d.o.Peak, d.inHandle)
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.inHandle--
		if (d.ctx.Err() == nil) != (ctx.Err() == nil) {
			d.o.Misled++
		}
	}()
	switch e.Kind {
	case "held":
		<-d.gate
	case "error":
		return "", errNoRoute
	case "panic":
		panic("no courier for " + e.ID)
	}
	return "notice of " + e.ID, nil
}

func (d *desk) drop(e dispatch.Event) {
	d.mu.Lock()
	d.inDrop++
	d.o.Early = d.o.Early || d.o.Closed
	if d.ctx.Err() == nil {
		d.o.TooSoon++
	}
	d.mu.Unlock()
	time.Sleep(time.Second) // as one that writes to a log does
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inDrop--
	d.answered[e.ID]++
}

// next reads one result. It reports false when they are closed, or when none
// comes.
func (d *desk) next() bool {
	select {
	case r, ok := <-d.results:
		d.mu.Lock()
		defer d.mu.Unlock()
		if !ok {
			d.o.Closed = true
			d.o.Early = d.o.Early || d.inHandle > 0 || d.inDrop > 0
			return false
		}
		d.take(r)
		return true
	case <-time.After(long):
		return false
	}
}

func (d *desk) take(r pipeline.Result) {
	d.o.Results++
	_, panicked := errors.AsType[*pipeline.PanicError](r.Err)
	right := false
	switch kind, known := d.offered[r.Event.ID]; {
	case !known:
		d.o.Unnamed++
		return
	case kind == "panic":
		right = panicked
	case kind == "error":
		right = errors.Is(r.Err, errNoRoute) && !panicked
	default:
		right = r.Err == nil && r.Notice == "notice of "+r.Event.ID
	}
	if !right {
		d.o.Wrong++
	}
	d.answered[r.Event.ID]++
}

// settle waits until nothing moves, and then for long more.
func (d *desk) settle() {
	synctest.Wait()
	time.Sleep(long)
	synctest.Wait()
}

// ours finds a line of the pipeline's in a stack or in a race report.
var ours = regexp.MustCompile(`pitstop/lessons/04_pipeline[./][^\n]*\n\s+\S*/(\S+\.go:\d+)`)

// left counts the goroutines that Run has started and that have not ended.
func (d *desk) left() {
	d.settle()
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var gs []probe.Goroutine
	for _, block := range strings.Split(string(buf), "\n\n")[1:] { // the first is this one
		head, _, _ := strings.Cut(block, "\n")
		at := ours.FindStringSubmatch(block)
		if !strings.Contains(head, "synctest bubble") || at == nil {
			continue
		}
		_, state, _ := strings.Cut(head, "[")
		state, _, _ = strings.Cut(state, " (durable)")
		gs = append(gs, probe.Goroutine{State: state, At: at[1]})
	}
	d.o.Left, d.o.Where = runtime.NumGoroutine()-d.base, probe.Where(gs)
}

// finish reads the results to the end and adds up.
func (d *desk) finish() outcome {
	for d.next() {
	}
	if d.o.Left == 0 {
		d.left()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.o.Offered = len(d.offered)
	d.o.Taken = d.o.Offered - len(d.events)
	d.o.Lost = d.o.Offered - len(d.answered)
	if d.ctx.Err() != nil {
		d.o.Ended, d.o.Lost = true, d.o.Taken-len(d.answered)
	}
	for _, n := range d.answered {
		if n > 1 {
			d.o.Twice++
		}
	}
	return d.o
}
