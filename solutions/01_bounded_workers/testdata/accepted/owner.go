// Package pool runs dispatchd's background work: a route to compute, a parcel
// event to store, a courier to notify. Handlers give it a task and answer at
// once; the pool sees to it that the database is never asked for more than it
// can give.
package pool

import (
	"context"
	"errors"
	"runtime/debug"
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

// Pool has one goroutine that owns all its state; the others talk to it.
type Pool struct {
	onPanic func(value any, stack []byte)
	submit  chan request
	ended   chan struct{}
	closing chan struct{}
	closed  chan struct{} // nobody answers any more
	idle    chan struct{}
}

type request struct {
	task  Task
	reply chan error
}

func New(cfg Config) *Pool {
	p := &Pool{
		onPanic: cfg.OnPanic,
		submit:  make(chan request),
		ended:   make(chan struct{}),
		closing: make(chan struct{}),
		closed:  make(chan struct{}),
		idle:    make(chan struct{}),
	}
	go p.own(max(cfg.Workers, 1), max(cfg.Queue, 1))
	return p
}

func (p *Pool) own(workers, queue int) {
	var waiting []Task
	running, open := 0, true
	for open || running > 0 {
		select {
		case r := <-p.submit:
			switch {
			case !open:
				r.reply <- ErrClosed
			case running < workers:
				running++
				go p.run(r.task)
				r.reply <- nil
			case len(waiting) < queue:
				waiting = append(waiting, r.task)
				r.reply <- nil
			default:
				r.reply <- ErrQueueFull
			}
		case <-p.ended:
			running--
			if len(waiting) > 0 {
				running++
				go p.run(waiting[0])
				waiting = waiting[1:]
			}
		case p.closing <- struct{}{}:
			open = false
		}
	}
	close(p.closed)
	close(p.idle)
}

func (p *Pool) Submit(task Task) error {
	r := request{task, make(chan error, 1)}
	select {
	case p.submit <- r:
		return <-r.reply
	case <-p.closed:
		return ErrClosed
	}
}

func (p *Pool) run(task Task) {
	defer func() { p.ended <- struct{}{} }()
	defer func() {
		if v := recover(); v != nil && p.onPanic != nil {
			p.onPanic(v, debug.Stack())
		}
	}()
	task()
}

func (p *Pool) Shutdown(ctx context.Context) error {
	select {
	case <-p.closing:
	case <-p.closed:
	}
	select {
	case <-p.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
