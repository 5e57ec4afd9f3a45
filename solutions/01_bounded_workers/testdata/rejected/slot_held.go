// finding: pool.unbounded
//
// The shortest mend: give the slot back at the end. It bounds the goroutines,
// but everything that should wait in the queue runs at once.

// Package pool runs dispatchd's background work: a route to compute, a parcel
// event to store, a courier to notify. Handlers give it a task and answer at
// once; the pool sees to it that the database is never asked for more than it
// can give.
package pool

import (
	"context"
	"errors"
	"runtime/debug"
	"sync/atomic"
)

var (
	// ErrQueueFull is returned by Submit when no more work fits. The task was
	// not taken: tell the caller to come back later.
	ErrQueueFull = errors.New("pool: queue full")

	// ErrClosed is returned by Submit from the first Shutdown on.
	ErrClosed = errors.New("pool: closed")
)

// Task is one piece of work. It may panic, and it may call Submit itself: the
// pool goes on in either case.
type Task func()

// Config sets the limits of a pool. Figures below 1 count as 1.
type Config struct {
	Workers int // how many tasks run at once
	Queue   int // how many accepted tasks may wait for their turn

	// OnPanic is told of each task that panicked: the value, and the stack of
	// the panic. The call is part of the task. It may be nil. Several goroutines
	// may call it at once.
	OnPanic func(value any, stack []byte)
}

// Pool runs tasks in the background. Make one with New.
type Pool struct {
	onPanic func(value any, stack []byte)
	slots   chan struct{} // a token for each task that is in the pool
	closed  atomic.Bool
}

// New makes a pool that is ready to use.
func New(cfg Config) *Pool {
	return &Pool{
		onPanic: cfg.OnPanic,
		slots:   make(chan struct{}, max(cfg.Workers, 1)+max(cfg.Queue, 1)),
	}
}

// Submit takes task, which will then run exactly once, or refuses it with
// ErrQueueFull or ErrClosed. It never waits: handlers call it.
func (p *Pool) Submit(task Task) error {
	if p.closed.Load() {
		return ErrClosed
	}
	select {
	case p.slots <- struct{}{}:
		go p.run(task)
		return nil
	default:
		return ErrQueueFull
	}
}

// run does one task and leaves its slot when it has ended.
func (p *Pool) run(task Task) {
	defer func() { <-p.slots }()
	defer func() {
		if v := recover(); v != nil && p.onPanic != nil {
			p.onPanic(v, debug.Stack())
		}
	}()
	task()
}

// Shutdown stops the intake and returns nil when every accepted task has run.
// When ctx ends first it gives up and returns ctx.Err(); the tasks go on, and
// a further call waits for them again. It may be called several times, from
// several places at once.
func (p *Pool) Shutdown(ctx context.Context) error {
	p.closed.Store(true)
	for range cap(p.slots) { // all slots free: nobody is left inside
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
