// finding: broadcast.late
//
// Each subscriber looks once a second whether there is a newer value. Nobody
// holds up anyone, and everyone is up to a second behind, also those who read.

// Package broadcast hands on one value to all who want to know: dispatchd's
// settings, which change while it runs, to everything that goes by them.
package broadcast

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrClosed is returned by Publish once the hub has been closed.
var ErrClosed = errors.New("broadcast: closed")

// Hub keeps the newest value and tells its subscribers. Make one with New. All
// methods may be called from several goroutines at once, and by a subscriber
// between two values.
type Hub[T any] struct {
	mu     sync.Mutex
	newest T
	number int // of newest
	closed bool
	ended  chan struct{}
}

// New makes a hub whose newest value is first.
func New[T any](first T) *Hub[T] {
	return &Hub[T]{newest: first, ended: make(chan struct{})}
}

// Publish makes v the newest value. It never waits for a subscriber: those who
// read get v at once, though others never do. After Close it returns ErrClosed.
func (h *Hub[T]) Publish(v T) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	h.newest = v
	h.number++
	return nil
}

// Subscribe gives the newest value at once and then each newer one. Who has not
// read for a while finds the newest, and nothing else. However many publish,
// all subscribers come to the same value in the end.
//
// The channel is closed when ctx ends or the hub is closed, and the hub then
// forgets the subscriber. One value may still be in it.
func (h *Hub[T]) Subscribe(ctx context.Context) <-chan T {
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := make(chan T, 1)
	if h.closed {
		close(ch)
		return ch
	}
	ch <- h.newest
	go h.poll(ctx, ch, h.number)
	return ch
}

func (h *Hub[T]) poll(ctx context.Context, ch chan T, number int) {
	defer close(ch)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-h.ended:
			return
		}
		h.mu.Lock()
		v, n := h.newest, h.number
		h.mu.Unlock()
		if n == number {
			continue
		}
		number = n
		select {
		case <-ch:
		default:
		}
		ch <- v
	}
}

// Close ends all subscriptions. No goroutine of the hub's is left afterwards,
// and contexts that live on hold nothing of it. It may be called several times,
// from several places at once.
func (h *Hub[T]) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.ended)
	}
}
