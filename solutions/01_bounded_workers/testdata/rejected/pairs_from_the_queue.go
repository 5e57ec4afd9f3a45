// finding: pool.held_up
//
// Where many wait, a worker takes two at a time, to lock less often.

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
	onPanic        func(value any, stack []byte)
	workers, queue int

	mu      sync.Mutex
	wake    *sync.Cond
	waiting []Task
	held    int // taken by a worker, not yet begun
	idle    int
	closed  bool
	wg      sync.WaitGroup
	gone    chan struct{}
}

// New makes a pool that is ready to use.
func New(cfg Config) *Pool {
	p := &Pool{
		onPanic: cfg.OnPanic,
		workers: max(cfg.Workers, 1),
		queue:   max(cfg.Queue, 1),
		gone:    make(chan struct{}),
	}
	p.wake = sync.NewCond(&p.mu)
	p.idle = p.workers
	for range p.workers {
		p.wg.Go(p.work)
	}
	go func() {
		p.wg.Wait()
		close(p.gone)
	}()
	return p
}

func (p *Pool) work() {
	for {
		batch := p.take()
		if batch == nil {
			return
		}
		for i, task := range batch {
			if i > 0 {
				p.mu.Lock()
				p.held--
				p.mu.Unlock()
			}
			p.do(task)
		}
		p.mu.Lock()
		p.idle++
		p.mu.Unlock()
	}
}

// take gives a worker its next tasks. Under load that is two, so that the lock
// is taken half as often.
func (p *Pool) take() []Task {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.waiting) == 0 {
		if p.closed {
			return nil
		}
		p.wake.Wait()
	}
	n := 1
	if len(p.waiting) > p.workers {
		n = 2 // there is enough for everybody
	}
	batch := append([]Task(nil), p.waiting[:n]...)
	p.waiting = append(p.waiting[:0], p.waiting[n:]...)
	p.held += n - 1
	p.idle--
	return batch
}

// Submit takes task, which will then run exactly once, or refuses it with
// ErrQueueFull or ErrClosed. It never waits: handlers call it.
func (p *Pool) Submit(task Task) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	if len(p.waiting)+p.held >= p.queue+p.idle {
		return ErrQueueFull
	}
	p.waiting = append(p.waiting, task)
	p.wake.Signal()
	return nil
}

func (p *Pool) do(task Task) {
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
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.wake.Broadcast()
	select {
	case <-p.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
