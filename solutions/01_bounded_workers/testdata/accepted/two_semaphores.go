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
// Each accepted task has a goroutine of its own. Two semaphores bound them:
// inside, held from Submit until the task has ended, says how many are
// accepted; atWork says how many of these run.
type Pool struct {
	onPanic  func(value any, stack []byte)
	capacity int64
	inside   *semaphore.Weighted
	atWork   *semaphore.Weighted

	mu     sync.RWMutex // a task is taken before the intake stops, or not at all
	closed bool
}

// New makes a pool that is ready to use.
func New(cfg Config) *Pool {
	workers, queue := int64(max(cfg.Workers, 1)), int64(max(cfg.Queue, 1))
	return &Pool{
		onPanic:  cfg.OnPanic,
		capacity: workers + queue,
		inside:   semaphore.NewWeighted(workers + queue),
		atWork:   semaphore.NewWeighted(workers),
	}
}

// Submit takes task, which will then run exactly once, or refuses it with
// ErrQueueFull or ErrClosed. It never waits: handlers call it.
func (p *Pool) Submit(task Task) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return ErrClosed
	}
	if !p.inside.TryAcquire(1) {
		return ErrQueueFull
	}
	go p.run(task)
	return nil
}

func (p *Pool) run(task Task) {
	defer p.inside.Release(1)
	_ = p.atWork.Acquire(context.Background(), 1) // cannot fail: no end, and 1 always fits
	defer p.atWork.Release(1)
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

	// Who holds all places knows that nobody is inside. They are given back at
	// once, for the next call of Shutdown.
	if !p.inside.TryAcquire(p.capacity) {
		if err := p.inside.Acquire(ctx, p.capacity); err != nil {
			return err
		}
	}
	p.inside.Release(p.capacity)
	return nil
}
