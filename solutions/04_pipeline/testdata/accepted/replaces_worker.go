// The recover stays around the loop, and a worker that a panic has ended starts
// the next one before it goes. The results have room for one of each worker.

// Package pipeline turns what the scanners saw into what the recipients read:
// parcel events go in, one result for each comes out.
package pipeline

import (
	"context"
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
	cfg Config
}

// New makes a pipeline. It starts nothing: see Run.
func New(cfg Config) *Pipeline {
	cfg.Workers = max(cfg.Workers, 1)
	if cfg.OnDrop == nil {
		cfg.OnDrop = func(dispatch.Event) {}
	}
	return &Pipeline{cfg: cfg}
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
	results := make(chan Result, p.cfg.Workers)
	var workers sync.WaitGroup
	var start func()
	start = func() {
		workers.Go(func() {
			if p.work(ctx, events, results) {
				start() // within Go, so the count does not touch zero
			}
		})
	}
	for range p.cfg.Workers {
		start()
	}
	go func() {
		workers.Wait()
		close(results)
	}()
	return results
}

// work handles events until there are no more, ctx has ended, or one of them
// panics: then it wants to be started again.
func (p *Pipeline) work(ctx context.Context, events <-chan dispatch.Event, results chan<- Result) (again bool) {
	var e dispatch.Event
	deliver := func(r Result) {
		select {
		case results <- r:
		case <-ctx.Done():
			p.cfg.OnDrop(e)
		}
	}
	defer func() {
		if v := recover(); v != nil {
			deliver(Result{Event: e, Err: &PanicError{Event: e, Value: v, Stack: debug.Stack()}})
			again = true
		}
	}()
	for ctx.Err() == nil {
		var ok bool
		select {
		case <-ctx.Done():
			return false
		case e, ok = <-events:
		}
		if !ok {
			return false
		}
		if ctx.Err() != nil {
			p.cfg.OnDrop(e)
			return false
		}
		notice, err := p.cfg.Handle(ctx, e)
		deliver(Result{Event: e, Notice: notice, Err: err})
	}
	return false
}
