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

// Pool has a dispatcher between the queue and short-lived goroutines; it holds
// one task while it waits for a free place.
type Pool struct {
	onPanic func(value any, stack []byte)
	places  chan struct{}
	idle    chan struct{}

	mu     sync.RWMutex
	queue  chan Task
	closed bool
}

func New(cfg Config) *Pool {
	p := &Pool{
		onPanic: cfg.OnPanic,
		places:  make(chan struct{}, max(cfg.Workers, 1)),
		idle:    make(chan struct{}),
		queue:   make(chan Task, max(cfg.Queue, 1)),
	}
	go p.dispatch()
	return p
}

func (p *Pool) dispatch() {
	defer close(p.idle)
	var running sync.WaitGroup
	for task := range p.queue {
		p.places <- struct{}{}
		running.Go(func() {
			defer func() { <-p.places }()
			p.run(task)
		})
	}
	running.Wait()
}

// run does one task and keeps its panic to that task.
func (p *Pool) run(task Task) {
	defer func() {
		if v := recover(); v != nil && p.onPanic != nil {
			p.onPanic(v, debug.Stack())
		}
	}()
	task()
}

func (p *Pool) Submit(task Task) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return ErrClosed
	}
	select {
	case p.queue <- task:
		return nil
	default:
		return ErrQueueFull
	}
}

func (p *Pool) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.queue)
	}
	p.mu.Unlock()
	select {
	case <-p.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
