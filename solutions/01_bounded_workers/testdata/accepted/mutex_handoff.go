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
	// ErrQueueFull is returned by Submit when no more work fits. The task was
	// not taken: tell the caller to come back later.
	ErrQueueFull = errors.New("pool: queue full")

	// ErrClosed is returned by Submit from the first Shutdown on.
	ErrClosed = errors.New("pool: closed")
)

// Task is one piece of work. It may end by returning, by a panic or by
// runtime.Goexit, and it may call Submit itself: the pool goes on in each case.
type Task func()

// Config sets the limits of a pool. Figures below 1 count as 1.
type Config struct {
	Workers int // how many tasks run at once
	Queue   int // how many accepted tasks may wait for their turn

	// OnPanic is told of each task that panicked: the value, and the stack of
	// the panic. It may be nil. Several goroutines may call it at once.
	OnPanic func(value any, stack []byte)
}

// Pool runs tasks in the background. Make one with New.
//
// A worker is a goroutine that exists only while it has a task; when it ends,
// however it ends, it starts its successor. An idle pool has no goroutine.
type Pool struct {
	onPanic func(value any, stack []byte)
	workers int
	queue   int
	drained chan struct{} // closed when the pool is closed and empty

	mu      sync.Mutex
	running int
	waiting []Task // not empty only while running == workers
	closed  bool
}

// New makes a pool that is ready to use.
func New(cfg Config) *Pool {
	return &Pool{
		onPanic: cfg.OnPanic,
		workers: max(cfg.Workers, 1),
		queue:   max(cfg.Queue, 1),
		drained: make(chan struct{}),
	}
}

// Submit takes task, which will then run exactly once, or refuses it with
// ErrQueueFull or ErrClosed. It never waits: handlers call it.
func (p *Pool) Submit(task Task) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return ErrClosed
	case p.running < p.workers:
		p.running++
		go p.run(task)
	case len(p.waiting) < p.queue:
		p.waiting = append(p.waiting, task)
	default:
		return ErrQueueFull
	}
	return nil
}

func (p *Pool) run(task Task) {
	defer p.next() // runs after a panic and after Goexit too
	defer func() {
		if v := recover(); v != nil && p.onPanic != nil {
			p.onPanic(v, debug.Stack())
		}
	}()
	task()
}

// next passes the caller's place on to the task that has waited longest, or
// gives it back.
func (p *Pool) next() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) > 0 {
		task := p.waiting[0]
		p.waiting[0] = nil
		p.waiting = p.waiting[1:]
		go p.run(task)
		return
	}
	p.running--
	if p.closed && p.running == 0 {
		close(p.drained)
	}
}

// Shutdown stops the intake and returns nil when every accepted task has run.
// When ctx ends first it gives up and returns ctx.Err(); the tasks go on, and
// a further call waits for them again. It may be called several times, from
// several places at once.
func (p *Pool) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		if p.running == 0 {
			close(p.drained)
		}
	}
	p.mu.Unlock()

	select {
	case <-p.drained:
		return nil
	default:
	}
	select {
	case <-p.drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
