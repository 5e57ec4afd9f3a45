// The lock of the hub is held only to number a value and to copy the list. Each
// subscriber has a lock of its own and refuses a number that is not newer, so
// publishers may overtake one another.

// Package broadcast hands on one value to all who want to know: dispatchd's
// settings, which change while it runs, to everything that goes by them.
package broadcast

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
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
	subs   map[*subscriber[T]]func() bool
	closed bool
}

// subscriber is one who wants to know.
type subscriber[T any] struct {
	mu     sync.Mutex
	ch     chan T
	number int // of the value it was given last
	gone   bool
}

// offer gives v to the subscriber, unless it has left or has had a newer one.
func (s *subscriber[T]) offer(v T, number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || number <= s.number {
		return
	}
	s.number = number
	select {
	case <-s.ch:
	default:
	}
	s.ch <- v
}

func (s *subscriber[T]) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.gone {
		s.gone = true
		close(s.ch)
	}
}

// New makes a hub whose newest value is first.
func New[T any](first T) *Hub[T] {
	return &Hub[T]{newest: first, number: 1, subs: map[*subscriber[T]]func() bool{}}
}

// Publish makes v the newest value. It never waits for a subscriber: those who
// read get v at once, though others never do. After Close it returns ErrClosed.
func (h *Hub[T]) Publish(v T) error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return ErrClosed
	}
	h.newest = v
	h.number++
	number, subs := h.number, slices.Collect(maps.Keys(h.subs))
	h.mu.Unlock()
	for _, s := range subs {
		s.offer(v, number)
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
	s := &subscriber[T]{ch: make(chan T, 1)}
	if h.closed {
		close(s.ch)
		return s.ch
	}
	s.offer(h.newest, h.number)
	h.subs[s] = context.AfterFunc(ctx, func() {
		h.mu.Lock()
		delete(h.subs, s)
		h.mu.Unlock()
		s.end()
	})
	return s.ch
}

// Close ends all subscriptions. No goroutine of the hub's is left afterwards,
// and contexts that live on hold nothing of it. It may be called several times,
// from several places at once.
func (h *Hub[T]) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s, stop := range h.subs {
		stop()
		s.end()
	}
	clear(h.subs)
}
