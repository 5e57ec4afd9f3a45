// finding: broadcast.diverged
//
// Publish changes nothing but an atomic pointer, so it holds the lock for
// reading only. Two publishers then take back and send at the same time:
// whoever comes second finds no room, or leaves the older value.

// Package broadcast hands on one value to all who want to know: dispatchd's
// settings, which change while it runs, to everything that goes by them.
package broadcast

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// ErrClosed is returned by Publish once the hub has been closed.
var ErrClosed = errors.New("broadcast: closed")

// Hub keeps the newest value and tells its subscribers. Make one with New. All
// methods may be called from several goroutines at once, and by a subscriber
// between two values.
type Hub[T any] struct {
	mu     sync.RWMutex
	newest atomic.Pointer[T]
	subs   map[chan T]func() bool // with what keeps it from hearing its context
	closed bool
}

// New makes a hub whose newest value is first.
func New[T any](first T) *Hub[T] {
	h := &Hub[T]{subs: map[chan T]func() bool{}}
	h.newest.Store(&first)
	return h
}

// Publish makes v the newest value. It never waits for a subscriber: those who
// read get v at once, though others never do. After Close it returns ErrClosed.
func (h *Hub[T]) Publish(v T) error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return ErrClosed
	}
	h.newest.Store(&v)
	for ch := range h.subs {
		select {
		case <-ch: // not read, and out of date
		default:
		}
		select {
		case ch <- v:
		default:
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
	ch := make(chan T, 1)
	if h.closed {
		close(ch)
		return ch
	}
	ch <- *h.newest.Load()
	h.subs[ch] = context.AfterFunc(ctx, func() { h.remove(ch) })
	return ch
}

// remove ends a subscription, unless Close has done so.
func (h *Hub[T]) remove(ch chan T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.subs[ch]; ok {
		delete(h.subs, ch)
		close(ch)
	}
}

// Close ends all subscriptions. No goroutine of the hub's is left afterwards,
// and contexts that live on hold nothing of it. It may be called several times,
// from several places at once.
func (h *Hub[T]) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for ch, stop := range h.subs {
		stop()
		close(ch)
	}
	clear(h.subs)
}
