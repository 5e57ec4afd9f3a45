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

const closedBit = 1 << 40

// Pool counts its tasks in one atomic word, whose high bit says closed. The
// channel is never closed; workers end by a second channel.
type Pool struct {
	onPanic func(value any, stack []byte)
	limit   int64
	state   atomic.Int64 // tasks accepted and not ended, and closedBit
	tasks   chan Task    // has room for all of them: a send never waits
	quit    chan struct{}
	once    sync.Once
}

func New(cfg Config) *Pool {
	workers := max(cfg.Workers, 1)
	limit := workers + max(cfg.Queue, 1)
	p := &Pool{
		onPanic: cfg.OnPanic,
		limit:   int64(limit),
		tasks:   make(chan Task, limit),
		quit:    make(chan struct{}),
	}
	for range workers {
		go p.work()
	}
	return p
}

func (p *Pool) Submit(task Task) error {
	for {
		s := p.state.Load()
		switch {
		case s&closedBit != 0:
			return ErrClosed
		case s >= p.limit:
			return ErrQueueFull
		case p.state.CompareAndSwap(s, s+1):
			p.tasks <- task
			return nil
		}
	}
}

func (p *Pool) work() {
	for {
		select {
		case task := <-p.tasks:
			p.run(task)
		case <-p.quit:
			return
		}
	}
}

func (p *Pool) run(task Task) {
	normal := false
	defer func() {
		if v := recover(); v != nil {
			normal = true
			if p.onPanic != nil {
				p.onPanic(v, debug.Stack())
			}
		}
		if !normal {
			go p.work()
		}
		if p.state.Add(-1) == closedBit {
			p.end()
		}
	}()
	task()
	normal = true
}

func (p *Pool) end() { p.once.Do(func() { close(p.quit) }) }

func (p *Pool) Shutdown(ctx context.Context) error {
	if p.state.Or(closedBit)&^closedBit == 0 {
		p.end()
	}
	select {
	case <-p.quit:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
