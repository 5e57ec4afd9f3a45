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

	"golang.org/x/sync/semaphore"
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

// Pool admits tasks by one weighted semaphore and runs them by another. Each
// admitted task has a goroutine, so there are never more than Workers+Queue.
type Pool struct {
	onPanic  func(value any, stack []byte)
	size     int64
	admitted *semaphore.Weighted
	working  *semaphore.Weighted

	mu     sync.RWMutex // held while a task is admitted
	closed bool
}

func New(cfg Config) *Pool {
	workers, queue := int64(max(cfg.Workers, 1)), int64(max(cfg.Queue, 1))
	return &Pool{
		onPanic:  cfg.OnPanic,
		size:     workers + queue,
		admitted: semaphore.NewWeighted(workers + queue),
		working:  semaphore.NewWeighted(workers),
	}
}

func (p *Pool) Submit(task Task) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return ErrClosed
	}
	if !p.admitted.TryAcquire(1) {
		return ErrQueueFull
	}
	go func() {
		defer p.admitted.Release(1)
		if err := p.working.Acquire(context.Background(), 1); err != nil {
			return
		}
		defer p.working.Release(1)
		p.run(task)
	}()
	return nil
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

// Shutdown takes every place there is: when it has them, nobody is inside.
func (p *Pool) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	if err := p.admitted.Acquire(ctx, p.size); err != nil {
		return err
	}
	p.admitted.Release(p.size)
	return nil
}
