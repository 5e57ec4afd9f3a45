//go:build review

package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"testing"
	"time"

	"pitstop/checker/probe"
	pipeline "pitstop/lessons/04_pipeline"
	"pitstop/lessons/dispatch"
)

func init() {
	maps.Copy(scenes, map[string]func() outcome{
		"cancelled at work":    cancelledAtWork,
		"cancelled in advance": cancelledInAdvance,
		"panics, nobody reads": func() outcome { return walksAway("panic") },
		"errors, nobody reads": func() outcome { return walksAway("error") },
		"slow reader":          slowReader,
		"nobody reads yet":     nobodyReadsYet,
		"one is slow":          oneIsSlow,
		"width after panics":   widthAfterPanics,
		"kinds of panic":       kindsOfPanic,
		"three runs":           threeRuns,
		"zero config":          zeroConfig,
	})
}

const rounds = 20

// cancelledAtWork: each worker has an event in Handle and there are more when
// the context ends; then Handle returns. What a select does with two ready
// cases is left to chance, so it is played several times.
func cancelledAtWork() (o outcome) {
	for range rounds {
		d := open(50)
		d.offer(50, "held")
		d.settle()
		d.end()
		d.next() // nothing may come yet
		close(d.gate)
		o = d.finish()
		if o.Late+o.Lost+o.Twice+o.Left+o.Misled > 0 || o.Early || !o.Closed {
			break
		}
	}
	return o
}

func TestReview_CancelledWhileAtWork(t *testing.T) {
	t.Parallel()
	o := play(t, "cancelled at work")
	when := "the context ended with 4 events in Handle and 46 waiting"
	if !probe.Equal(t, "events begun after the context had ended", o.Late, 0, "events") {
		probe.Errorf(t, "pipeline.begun_late", "%d of 46 events that waited were begun after the context had ended (4 more were in Handle).", o.Late)
	}
	if o.Misled > 0 {
		probe.Errorf(t, "pipeline.context", "%d calls of Handle did not see that Run's context had ended.", o.Misled)
	}
	checkAccount(t, o, when)
	checkEnd(t, o, when)
}

// cancelledInAdvance: a service that shuts down while it starts.
func cancelledInAdvance() (o outcome) {
	for range rounds {
		d := newDesk(20)
		d.offer(20, "delivered")
		d.end()
		d.run(pipeline.New(d.config(workers)))
		d.left()
		if o = d.finish(); o.Late+o.Lost+o.Left > 0 || !o.Closed {
			break
		}
	}
	return o
}

func TestReview_CancelledInAdvance(t *testing.T) {
	t.Parallel()
	o := play(t, "cancelled in advance")
	when := "the context had ended before Run was called"
	if o.Late > 0 {
		probe.Errorf(t, "pipeline.begun_late", "%d of %d events were begun though the context had ended before Run was called.", o.Late, o.Offered)
	}
	checkAccount(t, o, when)
	checkEnd(t, o, when)
}

// walksAway: nobody reads, all workers have a result in hand, the context ends.
func walksAway(kind string) outcome {
	d := open(100)
	d.offer(100, kind)
	d.settle()
	d.end()
	d.left()
	return d.finish()
}

func TestReview_ReaderWalksAway(t *testing.T) {
	t.Parallel()
	for _, scene := range []string{"panics, nobody reads", "errors, nobody reads"} {
		t.Run(scene, func(t *testing.T) {
			t.Parallel()
			o := play(t, scene)
			when := scene + ", and the context ended"
			checkAccount(t, o, when)
			checkEnd(t, o, when)
		})
	}
}

// slowReader: an hour passes between two results.
func slowReader() outcome {
	d := open(30)
	d.offer(10, "delivered")
	d.offer(10, "error")
	d.offer(10, "panic")
	close(d.events)
	for range 30 {
		time.Sleep(time.Hour)
		d.next()
	}
	return d.finish()
}

func TestReview_SlowReaderGetsEverything(t *testing.T) {
	t.Parallel()
	of := "an hour between two results"
	o := play(t, "slow reader")
	checkAccount(t, o, of)
	checkEnd(t, o, of)
}

// nobodyReadsYet: the reader is busy elsewhere while events keep coming.
func nobodyReadsYet() outcome {
	d := open(1000)
	d.offer(1000, "delivered")
	d.settle()
	d.o.Ahead = 1000 - len(d.events)
	close(d.events)
	return d.finish()
}

func TestReview_SlowReaderSlowsTheIntake(t *testing.T) {
	t.Parallel()
	o := play(t, "nobody reads yet")
	if !probe.AtMost(t, "events taken before the first result is read", o.Ahead, 4*workers, "events") {
		probe.Errorf(t, "pipeline.backlog", "%d of %d events were taken before one result was read: %d workers may have %d in hand.", o.Ahead, o.Offered, workers, 4*workers)
	}
	checkAccount(t, o, "1000 events, read late")
}

// oneIsSlow: one event hangs on the database, the others do not need it.
func oneIsSlow() outcome {
	d := open(50)
	d.offer(1, "held")
	d.offer(49, "delivered")
	close(d.events)
	for d.next() {
	}
	d.o.Ahead = d.o.Results
	time.Sleep(time.Hour)
	close(d.gate)
	return d.finish()
}

func TestReview_SlowEventHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	o := play(t, "one is slow")
	if !probe.Equal(t, "results while one event is slow", o.Ahead, 49, "results") {
		probe.Errorf(t, "pipeline.held_up", "%d of 49 results came while one event was still being handled.", o.Ahead)
	}
	if o.Misled > 0 {
		probe.Errorf(t, "pipeline.context", "the context of Handle ended within an hour, though Run's did not: a slow event was cut off.")
	}
	checkAccount(t, o, "50 events, one slow")
}

// widthAfterPanics: what is left of the workers when many events have panicked.
func widthAfterPanics() outcome {
	d := open(6 * workers)
	d.offer(3*workers, "panic")
	for range 3 * workers {
		d.next()
	}
	d.offer(3*workers, "held")
	close(d.events)
	d.settle()
	d.mu.Lock()
	d.o.AtWork = d.inHandle
	d.mu.Unlock()
	close(d.gate)
	return d.finish()
}

func TestReview_PanicEndsNoWorker(t *testing.T) {
	t.Parallel()
	o := play(t, "width after panics")
	if !probe.Equal(t, "events being handled at once after 12 panics", o.AtWork, workers, "events") {
		probe.Errorf(t, "pipeline.worker_lost", "after %d panics %d events are being handled at once by %d workers, though %d wait.", 3*workers, o.AtWork, workers, 3*workers)
	}
	if o.Peak > workers {
		probe.Errorf(t, "pipeline.unbounded", "%d events were being handled at once by %d workers after a panic.", o.Peak, workers)
	}
	checkAccount(t, o, "12 panics, then 12 slow events")
}

type streetError string

func (e streetError) Error() string { return "no such street: " + string(e) }

// burst panics in one of several ways.
//
//go:noinline
func burst(kind string) {
	var couriers map[string]int
	switch kind {
	case "string":
		panic("no courier")
	case "error":
		panic(fmt.Errorf("route: %w", streetError("Elm")))
	case "nil":
		panic(nil)
	case "runtime":
		couriers["ann"]++
	}
}

var errReturned = fmt.Errorf("lookup: %w", streetError("Oak"))

// kindsOfPanic: the error says which event it was, what it panicked with and where.
func kindsOfPanic() (o outcome) {
	events := make(chan dispatch.Event, 5)
	for _, kind := range []string{"string", "error", "nil", "runtime", "returned"} {
		events <- dispatch.Event{ID: "e-" + kind, Order: "o-77", Kind: kind}
	}
	close(events)
	p := pipeline.New(pipeline.Config{Workers: 2, Handle: func(_ context.Context, e dispatch.Event) (string, error) {
		burst(e.Kind)
		return "", errReturned
	}})
	results := p.Run(context.Background(), events)
	for range 5 {
		select {
		case r := <-results:
			o.Results++
			if note := wrongWith(r); note != "" && o.Note == "" {
				o.Note = note
			}
		case <-time.After(long):
		}
	}
	return o
}

func wrongWith(r pipeline.Result) string {
	kind := r.Event.Kind
	pe, panicked := errors.AsType[*pipeline.PanicError](r.Err)
	if kind == "returned" {
		if !errors.Is(r.Err, errReturned) || panicked {
			return fmt.Sprintf("Handle returned %q and the result has %v", errReturned, r.Err)
		}
		return ""
	}
	if !panicked {
		return fmt.Sprintf("Handle panicked with %s, and the result's error is no *PanicError: %T, %v", kinds[kind], r.Err, r.Err)
	}
	_, fromRuntime := errors.AsType[runtime.Error](r.Err)
	_, fromNil := errors.AsType[*runtime.PanicNilError](r.Err)
	_, street := errors.AsType[streetError](r.Err)
	switch {
	case pe.Event != r.Event:
		return fmt.Sprintf("the *PanicError of event %q names event %q", r.Event.ID, pe.Event.ID)
	case !strings.Contains(r.Err.Error(), r.Event.ID):
		return fmt.Sprintf("the text %q does not name event %q", r.Err, r.Event.ID)
	case kind == "string" && pe.Value != "no courier":
		return fmt.Sprintf("Handle panicked with the string %q and Value is %#v", "no courier", pe.Value)
	case street != (kind == "error"):
		return inChain(kind, "streetError", street)
	case fromNil != (kind == "nil"):
		return inChain(kind, "*runtime.PanicNilError", fromNil)
	case fromRuntime != (kind == "nil" || kind == "runtime"):
		return inChain(kind, "runtime.Error", fromRuntime)
	case !strings.Contains(string(pe.Stack), "burst"):
		return fmt.Sprintf("Handle panicked with %s in a function called burst, and the stack of %d bytes does not show that function", kinds[kind], len(pe.Stack))
	}
	return ""
}

var kinds = map[string]string{
	"string": "a string", "error": "an error that wraps a streetError", "nil": "nil", "runtime": "a write to a nil map",
}

// inChain says that the chain of the result's error has a type that it must
// not have, or has it not.
func inChain(kind, of string, has bool) string {
	if has {
		return fmt.Sprintf("Handle panicked with %s, and errors.As finds a %s in the result's error", kinds[kind], of)
	}
	return fmt.Sprintf("Handle panicked with %s, and errors.As finds no %s in the result's error", kinds[kind], of)
}

func TestReview_PanicErrorTellsWhatHappened(t *testing.T) {
	t.Parallel()
	o := play(t, "kinds of panic")
	if !probe.Equal(t, "results of events that fail", o.Results, 5, "results") {
		probe.Fatalf(t, "pipeline.lost", "%d of 5 events that fail have a result.", o.Results)
	}
	if o.Note != "" {
		probe.Errorf(t, "pipeline.panic_error", "%s.", o.Note)
	}
}

// threeRuns: one pipeline serves three streams. All workers of one are at work,
// one is cancelled meanwhile, one has a single event.
func threeRuns() outcome {
	d, first, third := newDesk(40), newDesk(0), newDesk(1)
	p := pipeline.New(d.config(workers))
	d.run(p)
	first.results = p.Run(first.ctx, first.events)
	d.offer(20, "held")
	d.settle()
	first.end()
	third.offer(1, "quick")
	close(third.events)
	third.results = p.Run(third.ctx, third.events)
	for _, other := range []*desk{first, third} {
		for other.next() {
		}
		if other.o.Closed {
			d.o.Ahead++
		}
	}
	close(d.gate)
	d.offer(20, "panic")
	close(d.events)
	return d.finish()
}

func TestReview_RunMayBeCalledAgain(t *testing.T) {
	t.Parallel()
	o := play(t, "three runs")
	if !probe.Equal(t, "other runs that ended while one was at work", o.Ahead, 2, "runs") {
		probe.Errorf(t, "pipeline.shared", "one call of Run was at work, one was cancelled and one had a single event; of these two %d closed its results. Each call has workers of its own.", o.Ahead)
	}
	of := "40 events in one of three runs of the same pipeline"
	checkAccount(t, o, of)
	checkEnd(t, o, of)
}

// zeroConfig: no workers, no OnDrop.
func zeroConfig() (o outcome) {
	for _, n := range []int{0, -1} {
		d := newDesk(10)
		cfg := d.config(n)
		cfg.OnDrop = nil
		d.run(pipeline.New(cfg))
		d.offer(10, "held")
		d.settle()
		d.o.AtWork = d.inHandle
		d.end()
		close(d.gate)
		if o = d.finish(); o.AtWork != 1 || !o.Closed {
			break
		}
	}
	return o
}

func TestReview_ConfigBelowOneCountsAsOne(t *testing.T) {
	t.Parallel()
	o := play(t, "zero config")
	if !probe.Equal(t, "events at once with Workers 0 or -1", o.AtWork, 1, "events") || !o.Closed {
		probe.Errorf(t, "pipeline.config", "with Workers below 1 and no OnDrop there must be one event in Handle, and the results must be closed when all is done; in Handle: %d, closed: %t.", o.AtWork, o.Closed)
	}
}
