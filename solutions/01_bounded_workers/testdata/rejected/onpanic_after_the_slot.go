// finding: pool.unbounded
//
// The slot is free again before OnPanic is called.

// Package pool runs dispatchd's background work: a route to compute, a parcel
// event to store, a courier to notify. Handlers give it a task and answer at
// once; the pool sees to it that the database is never asked for more than it
// can give.
package pool

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
)

var (
	// ErrQueueFull is returned by Submit when no more work fits.
	ErrQueueFull = errors.New("pool: queue full")

	// ErrClosed is returned by Submit from the first Shutdown on.
	ErrClosed = errors.New("pool: closed")
)

// Task is one piece of work. It may panic, and it may call Submit itself.
type Task func()

// Config sets the limits of a pool. Figures below 1 count as 1.
type Config struct {
	Workers int
	Queue   int
	OnPanic func(value any, stack []byte)
}

// Pool runs tasks in the background. Make one with New.
type Pool struct {
	onPanic func(value any, stack []byte)
	inside  chan struct{} // a token for each task that is in the pool
	running chan struct{} // a token for each task at work

	mu     sync.Mutex
	closed bool
	tasks  sync.WaitGroup
}

// New makes a pool that is ready to use.
func New(cfg Config) *Pool {
	workers, queue := max(cfg.Workers, 1), max(cfg.Queue, 1)
	return &Pool{
		onPanic: cfg.OnPanic,
		inside:  make(chan struct{}, workers+queue),
		running: make(chan struct{}, workers),
	}
}

// Submit takes task, which will then run exactly once, or refuses it with
// ErrQueueFull or ErrClosed. It never waits: handlers call it.
func (p *Pool) Submit(task Task) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	select {
	case p.inside <- struct{}{}:
		p.tasks.Add(1)
		go p.run(task)
		return nil
	default:
		return ErrQueueFull
	}
}

// run waits for its turn and does the task.
func (p *Pool) run(task Task) {
	defer p.tasks.Done()
	defer func() {
		if v := recover(); v != nil && p.onPanic != nil {
			p.onPanic(v, debug.Stack())
		}
	}()
	p.running <- struct{}{}
	defer func() {
		<-p.running
		<-p.inside
	}()
	task()
}

// Shutdown stops the intake and returns nil when every accepted task has run.
// When ctx ends first it gives up and returns ctx.Err(); the tasks go on, and
// a further call waits for them again. It may be called several times, from
// several places at once.
func (p *Pool) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()

	gone := make(chan struct{})
	go func() {
		p.tasks.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
