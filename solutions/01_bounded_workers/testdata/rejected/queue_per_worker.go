// finding: pool.stuck
//
// A queue for each worker: a slow task holds up what stands behind it while
// other workers are free.

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
	queues  []chan Task // one for each worker, so that they do not contend
	next    atomic.Uint64
	wg      sync.WaitGroup
	drained chan struct{}

	mu     sync.RWMutex
	closed bool
}

// New makes a pool that is ready to use.
func New(cfg Config) *Pool {
	workers, queue := max(cfg.Workers, 1), max(cfg.Queue, 1)
	p := &Pool{
		onPanic: cfg.OnPanic,
		queues:  make([]chan Task, workers),
		drained: make(chan struct{}),
	}
	for i := range p.queues {
		p.queues[i] = make(chan Task, (queue+workers-1)/workers)
		p.wg.Add(1)
		go p.worker(p.queues[i])
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
	// Round robin; if that worker's queue is full, try the others.
	start := p.next.Add(1)
	for i := range uint64(len(p.queues)) {
		select {
		case p.queues[(start+i)%uint64(len(p.queues))] <- task:
			return nil
		default:
		}
	}
	return ErrQueueFull
}

func (p *Pool) worker(tasks chan Task) {
	normal := false
	defer func() {
		if !normal {
			go p.worker(tasks)
			return
		}
		p.wg.Done()
	}()
	for task := range tasks {
		p.run(task)
	}
	normal = true
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
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		for _, q := range p.queues {
			close(q)
		}
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
