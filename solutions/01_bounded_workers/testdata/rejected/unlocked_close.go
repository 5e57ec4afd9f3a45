// finding: pool.task_lost
//
// Looks at closed and sends in two steps: a task can come in after the workers
// have looked for the last time.

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
	"sync/atomic"
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
	quit    chan struct{}
	closed  atomic.Bool
	once    sync.Once
	wg      sync.WaitGroup
	drained chan struct{}
}

// New makes a pool that is ready to use.
func New(cfg Config) *Pool {
	p := &Pool{
		onPanic: cfg.OnPanic,
		tasks:   make(chan Task, max(cfg.Queue, 1)),
		quit:    make(chan struct{}),
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
	if p.closed.Load() {
		return ErrClosed
	}
	// p.tasks is never closed, so this cannot panic.
	select {
	case p.tasks <- task:
		return nil
	default:
		return ErrQueueFull
	}
}

func (p *Pool) worker() {
	normal := false
	defer func() {
		if !normal {
			go p.worker()
			return
		}
		p.wg.Done()
	}()
	for {
		select {
		case task := <-p.tasks:
			p.run(task)
			continue
		default:
		}
		select {
		case task := <-p.tasks:
			p.run(task)
		case <-p.quit:
			p.drain()
			normal = true
			return
		}
	}
}

// drain does what is left in the queue after the intake has stopped.
func (p *Pool) drain() {
	for {
		select {
		case task := <-p.tasks:
			p.run(task)
		default:
			return
		}
	}
}

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
	p.once.Do(func() {
		p.closed.Store(true)
		close(p.quit)
		go func() {
			p.wg.Wait()
			close(p.drained)
		}()
	})
	select {
	case <-p.drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
