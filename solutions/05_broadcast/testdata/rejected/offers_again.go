// finding: broadcast.twice
//
// A goroutine for each subscriber always has the newest value in its hand. It
// does not put it down when it has been taken: whoever reads in a loop reloads
// the same settings without end.

// Package broadcast hands on one value to all who want to know: dispatchd's
// settings, which change while it runs, to everything that goes by them.
package broadcast

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed is returned by Publish once the hub has been closed.
var ErrClosed = errors.New("broadcast: closed")

// subscriber is one who wants to know.
type subscriber struct {
	knock chan struct{} // there is a newer value
}

// Hub keeps the newest value and tells its subscribers. Make one with New. All
// methods may be called from several goroutines at once, and by a subscriber
// between two values.
type Hub[T any] struct {
	mu     sync.Mutex
	newest T
	subs   map[*subscriber]struct{}
	closed bool
	ended  chan struct{}
}

// New makes a hub whose newest value is first.
func New[T any](first T) *Hub[T] {
	return &Hub[T]{newest: first, subs: map[*subscriber]struct{}{}, ended: make(chan struct{})}
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
	for s := range h.subs {
		select {
		case s.knock <- struct{}{}:
		default: // it has been knocked already
		}
	}
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
	out := make(chan T)
	if h.closed {
		close(out)
		return out
	}
	s := &subscriber{knock: make(chan struct{}, 1)}
	h.subs[s] = struct{}{}
	go h.serve(ctx, s, out, h.newest)
	return out
}

func (h *Hub[T]) serve(ctx context.Context, s *subscriber, out chan<- T, value T) {
	defer close(out)
	defer h.forget(s)
	to := out
	for {
		select {
		case to <- value:
		case <-s.knock:
			h.mu.Lock()
			value = h.newest
			h.mu.Unlock()
			to = out
		case <-ctx.Done():
			return
		case <-h.ended:
			return
		}
	}
}

func (h *Hub[T]) forget(s *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subs, s)
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
