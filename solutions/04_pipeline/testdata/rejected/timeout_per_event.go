// finding: pipeline.context
//
// Each event gets a context with a timeout of its own, so that one that hangs
// cannot keep its worker. One that is only slow is cut off while Run's lives.

// Package pipeline turns what the scanners saw into what the recipients read:
// parcel events go in, one result for each comes out.
package pipeline

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

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

// handleTimeout keeps an event that hangs from holding its worker for good.
const handleTimeout = 30 * time.Second

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
	r := &run{Config: p.cfg, results: make(chan Result)}
	for range p.cfg.Workers {
		r.workers.Go(func() { r.work(ctx, events) })
	}
	go func() {
		r.workers.Wait()
		close(r.results)
	}()
	return r.results
}

// run is one call of Run.
type run struct {
	Config
	results chan Result
	workers sync.WaitGroup
}

// work handles events until there are no more, or until ctx ends.
func (r *run) work(ctx context.Context, events <-chan dispatch.Event) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				return
			}
			if ctx.Err() != nil { // select may choose either
				r.OnDrop(e)
				return
			}
			select {
			case r.results <- r.handle(ctx, e):
			case <-ctx.Done():
				r.OnDrop(e)
				return
			}
		}
	}
}

// handle makes the result of one event. A panic is a result too.
func (r *run) handle(ctx context.Context, e dispatch.Event) (res Result) {
	res.Event = e
	defer func() {
		if v := recover(); v != nil {
			res.Err = &PanicError{Event: e, Value: v, Stack: debug.Stack()}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	res.Notice, res.Err = r.Handle(ctx, e)
	return res
}
