// finding: pipeline.shared
//
// The limit is made in New, so two calls of Run share it.

// Package pipeline turns what the scanners saw into what the recipients read:
// parcel events go in, one result for each comes out.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"pitstop/lessons/dispatch"
)

// Config says how events are handled.
type Config struct {
	Workers int // how many events are handled at once; below 1 counts as 1

	// Handle makes the notice for one event. It is given Run's context. It may
	// return an error, and it may panic. Several goroutines call it at once.
	Handle func(ctx context.Context, e dispatch.Event) (notice string, err error)

	// OnDrop is told of each event that was taken and whose result was not put
	// on the channel, because the context ended first. It may be nil. Several
	// goroutines may call it at once.
	OnDrop func(e dispatch.Event)
}

// Result is what became of one event.
type Result struct {
	Event  dispatch.Event // always that event, also where Err is set
	Notice string
	Err    error // what Handle returned, or a *PanicError
}

// PanicError is the error of an event whose handling panicked. It unwraps to
// the panic's value where that is an error, such as a runtime.Error.
type PanicError struct {
	Event dispatch.Event
	Value any    // what Handle panicked with
	Stack []byte // of the panic, as debug.Stack gives it
}

// Error names the event and the value.
func (e *PanicError) Error() string {
	return fmt.Sprintf("event %s: panic: %v", e.Event.ID, e.Value)
}

// Unwrap gives the value that Handle panicked with, where it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Pipeline handles events. Make one with New.
type Pipeline struct {
	cfg   Config
	slots chan struct{} // one for each event being handled
}

// New makes a pipeline. It starts nothing: see Run.
func New(cfg Config) *Pipeline {
	cfg.Workers = max(cfg.Workers, 1)
	if cfg.OnDrop == nil {
		cfg.OnDrop = func(dispatch.Event) {}
	}
	return &Pipeline{cfg: cfg, slots: make(chan struct{}, cfg.Workers)}
}

// Run handles events until the channel is closed or ctx ends, and gives their
// results in the order in which they are ready. While ctx lives, each event
// has exactly one result, however long its reader takes. Once ctx has ended,
// Handle is not called any more, and what was taken is either a result or
// told to OnDrop.
//
// The results are closed when all of that is over: the last call of Handle and
// of OnDrop has returned, and no goroutine is left. A reader who does not want
// to read them to the end must end ctx. Run may be called again, also
// meanwhile; each call has workers and results of its own.
func (p *Pipeline) Run(ctx context.Context, events <-chan dispatch.Event) <-chan Result {
	r := &run{Config: p.cfg, slots: p.slots, results: make(chan Result)}
	var workers sync.WaitGroup
	for range p.cfg.Workers {
		workers.Go(func() { r.work(ctx, events) })
	}
	go func() {
		workers.Wait()
		close(r.results)
	}()
	return r.results
}

// run is one call of Run.
type run struct {
	Config
	slots   chan struct{} // one for each call of Handle
	results chan Result
}

// work handles events until there are no more or ctx ends.
func (r *run) work(ctx context.Context, events <-chan dispatch.Event) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				return
			}
			if ctx.Err() != nil {
				r.OnDrop(e)
				return
			}
			select {
			case r.slots <- struct{}{}:
			case <-ctx.Done():
				r.OnDrop(e)
				return
			}
			if ctx.Err() != nil {
				<-r.slots
				r.OnDrop(e)
				return
			}
			res := r.one(ctx, e)
			<-r.slots
			r.put(ctx, res)
		}
	}
}

// put hands on a result, or drops it.
func (r *run) put(ctx context.Context, res Result) {
	select {
	case r.results <- res:
	case <-ctx.Done():
		r.OnDrop(res.Event)
	}
}

var errExit = errors.New("pipeline: Handle ended its goroutine")

// one handles one event; a panic is its error. Handle has a goroutine of its
// own, since it might call runtime.Goexit.
func (r *run) one(ctx context.Context, e dispatch.Event) Result {
	done := make(chan Result, 1)
	go func() {
		res := Result{Event: e, Err: errExit}
		defer func() {
			if v := recover(); v != nil {
				res.Err = &PanicError{Event: e, Value: v, Stack: debug.Stack()}
			}
			done <- res
		}()
		res.Notice, res.Err = r.Handle(ctx, e)
	}()
	return <-done
}
