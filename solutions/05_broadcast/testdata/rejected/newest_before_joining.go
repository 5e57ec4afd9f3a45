// finding: broadcast.diverged
//
// The newest value is read before the subscriber is on the list.

// Package broadcast hands on one value to all who want to know: dispatchd's
// settings, which change while it runs, to everything that goes by them.
package broadcast

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// ErrClosed is returned by Publish once the hub has been closed.
var ErrClosed = errors.New("broadcast: closed")

// Hub keeps the newest value and tells its subscribers. Make one with New. All
// methods may be called from several goroutines at once, and by a subscriber
// between two values.
type Hub[T any] struct {
	mu     sync.Mutex
	newest atomic.Pointer[T]
	subs   []*subscriber[T]
	closed bool
}

// subscriber is one who wants to know.
type subscriber[T any] struct {
	ch   chan T      // with room for one; who sends or closes holds the hub's lock
	stop func() bool // does not wait for the context any more
	left bool        // its context has ended
}

// New makes a hub whose newest value is first.
func New[T any](first T) *Hub[T] {
	h := &Hub[T]{}
	h.newest.Store(&first)
	return h
}

// Publish makes v the newest value. It never waits for a subscriber: those who
// read get v at once, though others never do. After Close it returns ErrClosed.
func (h *Hub[T]) Publish(v T) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	h.newest.Store(&v)
	for _, s := range h.subs {
		select {
		case <-s.ch: // it has not read this one, and need not
		default:
		}
		s.ch <- v
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
	s := &subscriber[T]{ch: make(chan T, 1)}
	s.ch <- *h.newest.Load() // there is room for one
	// Contexts have locks of their own, so not under ours.
	s.stop = context.AfterFunc(ctx, func() { h.remove(s) })
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || s.left {
		s.stop()
		<-s.ch
		close(s.ch)
		return s.ch
	}
	h.subs = append(h.subs, s)
	return s.ch
}

// remove ends a subscription, unless Close has done so.
func (h *Hub[T]) remove(s *subscriber[T]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.left = true
	if i := slices.Index(h.subs, s); i >= 0 {
		h.subs = slices.Delete(h.subs, i, i+1)
		close(s.ch)
	}
}

// Close ends all subscriptions. No goroutine of the hub's is left afterwards,
// and contexts that live on hold nothing of it. It may be called several times,
// from several places at once.
func (h *Hub[T]) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, s := range h.subs {
		s.stop()
		close(s.ch)
	}
	h.subs = nil
}
