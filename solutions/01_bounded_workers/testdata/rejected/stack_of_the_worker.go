// finding: pool.panic_report
//
// Takes the stack after the panic has been unwound: it shows the worker, not
// the task.

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
type Pool struct {
	onPanic func(value any, stack []byte)
	tasks   chan Task
	wg      sync.WaitGroup
	drained chan struct{}

	mu     sync.RWMutex
	closed bool
}

// New makes a pool that is ready to use.
func New(cfg Config) *Pool {
	p := &Pool{
		onPanic: cfg.OnPanic,
		tasks:   make(chan Task, max(cfg.Queue, 1)),
		drained: make(chan struct{}),
	}
	for range max(cfg.Workers, 1) {
		p.wg.Add(1)
		go p.worker()
	}
	return p
}

// Submit takes task, which will then run exactly once, or refuses it with
// ErrQueueFull or ErrClosed. It never waits: handlers call it.
func (p *Pool) Submit(task Task) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
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

// worker does tasks until the queue is closed. If a task ends the goroutine
// with runtime.Goexit, another worker takes its place.
func (p *Pool) worker() {
	normal := false
	defer func() {
		if !normal {
			go p.worker()
			return
		}
		p.wg.Done()
	}()
	for task := range p.tasks {
		p.run(task)
	}
	normal = true
}

func (p *Pool) run(task Task) {
	if v := try(task); v != nil && p.onPanic != nil {
		p.onPanic(v, debug.Stack())
	}
}

// try runs task and returns the value it panicked with, or nil.
func try(task Task) (v any) {
	defer func() { v = recover() }()
	task()
	return nil
}

// Shutdown stops the intake and returns nil when every accepted task has run.
// When ctx ends first it gives up and returns ctx.Err(); the tasks go on, and
// a further call waits for them again. It may be called several times, from
// several places at once.
func (p *Pool) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.tasks)
		go func() {
			p.wg.Wait()
			close(p.drained)
		}()
	}
	p.mu.Unlock()

	select {
	case <-p.drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
