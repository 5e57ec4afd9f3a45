// finding: pool.queue
//
// The channel has room for Workers+Queue, but the workers hold tasks as well:
// the pool takes Workers more than it was told.

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

// Pool runs tasks in the background. Make one with New.
type Pool struct {
	onPanic func(value any, stack []byte)
	workers sync.WaitGroup
	drained chan struct{} // closed when the last worker has gone

	mu     sync.Mutex // held for each send and for the close, never while waiting
	closed bool
	tasks  chan Task
}

// New makes a pool that is ready to use, with its workers waiting.
func New(cfg Config) *Pool {
	p := &Pool{
		onPanic: cfg.OnPanic,
		drained: make(chan struct{}),
		tasks:   make(chan Task, max(cfg.Workers, 1)+max(cfg.Queue, 1)),
	}
	for range max(cfg.Workers, 1) {
		p.workers.Go(p.work)
	}
	return p
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
	case p.tasks <- task:
		return nil
	default:
		return ErrQueueFull
	}
}

// work runs tasks until the queue is closed and empty. A task that calls
// runtime.Goexit takes the goroutine with it, so another takes its place.
func (p *Pool) work() {
	finished := false
	defer func() {
		if !finished {
			p.workers.Go(p.work)
		}
	}()
	for task := range p.tasks {
		p.run(task)
	}
	finished = true
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

// Shutdown stops the intake and returns nil when every accepted task has run.
// When ctx ends first it gives up and returns ctx.Err(); the tasks go on, and
// a further call waits for them again. It may be called several times, from
// several places at once.
func (p *Pool) Shutdown(ctx context.Context) error {
	p.close()
	select {
	case <-p.drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends the intake, once. Workers take what is left in the channel before
// they see that it is closed.
func (p *Pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	close(p.tasks)
	go func() {
		p.workers.Wait()
		close(p.drained)
	}()
}
