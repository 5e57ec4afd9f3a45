// Package pool runs dispatchd's background work: a route to compute, a parcel
// event to store, a courier to notify. Handlers give it a task and answer at
// once; the pool sees to it that the database is never asked for more than it
// can give.
package pool

import (
	"context"
	"errors"
	"fmt"
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

// Pool starts a worker when there is work and none is free; a worker that
// finds nothing to do ends. An idle pool has no goroutine at all.
type Pool struct {
	workers, queue int
	onPanic        func(value any, stack []byte)

	mu      sync.Mutex
	live    int
	waiting []Task
	closed  bool
	waiters []chan struct{}
}

func New(cfg Config) *Pool {
	return &Pool{workers: max(cfg.Workers, 1), queue: max(cfg.Queue, 1), onPanic: cfg.OnPanic}
}

func (p *Pool) Submit(task Task) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return ErrClosed
	case p.live < p.workers:
		p.live++
		go p.work(task)
	case len(p.waiting) < p.queue:
		p.waiting = append(p.waiting, task)
	default:
		return fmt.Errorf("%w: %d tasks wait", ErrQueueFull, len(p.waiting))
	}
	return nil
}

// work does task, then hands its place to the next one that waits. The
// goroutine is a new one each time: so a task may end it as it likes.
func (p *Pool) work(task Task) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.waiting) > 0 {
			next := p.waiting[0]
			p.waiting = append(p.waiting[:0:0], p.waiting[1:]...)
			go p.work(next)
			return
		}
		p.live--
		if p.live == 0 {
			for _, w := range p.waiters {
				close(w)
			}
			p.waiters = nil
		}
	}()
	defer func() {
		if v := recover(); v != nil && p.onPanic != nil {
			p.onPanic(v, debug.Stack())
		}
	}()
	task()
}

func (p *Pool) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	if p.live == 0 {
		p.mu.Unlock()
		return nil
	}
	done := make(chan struct{})
	p.waiters = append(p.waiters, done)
	p.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("pool: shutdown: %w", ctx.Err())
	}
}
