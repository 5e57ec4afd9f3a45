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

// Pool is a slice under a mutex; workers sleep on a condition variable.
type Pool struct {
	cfg Config

	mu      sync.Mutex
	changed *sync.Cond
	waiting []Task
	pending int // accepted and not ended
	closed  bool
	idle    chan struct{}
}

func New(cfg Config) *Pool {
	cfg.Workers, cfg.Queue = max(cfg.Workers, 1), max(cfg.Queue, 1)
	p := &Pool{cfg: cfg, idle: make(chan struct{})}
	p.changed = sync.NewCond(&p.mu)
	for range cfg.Workers {
		go p.work()
	}
	return p
}

func (p *Pool) Submit(task Task) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	if p.pending >= p.cfg.Workers+p.cfg.Queue {
		return ErrQueueFull
	}
	p.pending++
	p.waiting = append(p.waiting, task)
	p.changed.Signal()
	return nil
}

func (p *Pool) work() {
	for {
		p.mu.Lock()
		for len(p.waiting) == 0 && !p.closed {
			p.changed.Wait()
		}
		if len(p.waiting) == 0 {
			p.mu.Unlock()
			return
		}
		task := p.waiting[0]
		p.waiting[0] = nil
		p.waiting = p.waiting[1:]
		p.mu.Unlock()
		p.run(task)
	}
}

func (p *Pool) run(task Task) {
	returned := false
	defer func() {
		v := recover()
		if v != nil && p.cfg.OnPanic != nil {
			p.cfg.OnPanic(v, debug.Stack())
		}
		if v == nil && !returned {
			go p.work() // runtime.Goexit: this goroutine will not come back
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.pending--
		p.endWhenIdle()
	}()
	task()
	returned = true
}

// endWhenIdle closes idle once. The caller holds mu.
func (p *Pool) endWhenIdle() {
	if !p.closed || p.pending > 0 {
		return
	}
	select {
	case <-p.idle:
	default:
		close(p.idle)
	}
}

func (p *Pool) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.changed.Broadcast()
	p.endWhenIdle()
	p.mu.Unlock()
	select {
	case <-p.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
