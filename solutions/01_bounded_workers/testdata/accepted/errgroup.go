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

	"golang.org/x/sync/errgroup"
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

// Pool is an errgroup with a limit; a channel of tokens says who may work.
type Pool struct {
	onPanic func(value any, stack []byte)
	group   errgroup.Group
	tokens  chan struct{}

	mu     sync.Mutex
	closed chan struct{}
	idle   chan struct{}
}

func New(cfg Config) *Pool {
	p := &Pool{
		onPanic: cfg.OnPanic,
		tokens:  make(chan struct{}, max(cfg.Workers, 1)),
		closed:  make(chan struct{}),
		idle:    make(chan struct{}),
	}
	p.group.SetLimit(max(cfg.Workers, 1) + max(cfg.Queue, 1))
	return p
}

func (p *Pool) Submit(task Task) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.closed:
		return ErrClosed
	default:
	}
	admitted := p.group.TryGo(func() error {
		p.tokens <- struct{}{}
		defer func() { <-p.tokens }()
		p.run(task)
		return nil
	})
	if !admitted {
		return ErrQueueFull
	}
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

func (p *Pool) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	select {
	case <-p.closed:
	default:
		close(p.closed)
		go func() {
			defer close(p.idle)
			p.group.Wait()
		}()
	}
	p.mu.Unlock()
	select {
	case <-p.idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
