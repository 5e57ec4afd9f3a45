// finding: broadcast.retained
//
// A subscriber who has left is marked and stays on the list, with the value it
// did not read. Nothing is sent to it, and after a month of reloads there are
// many.

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

// Hub keeps the newest value and tells its subscribers. Make one with New. All
// methods may be called from several goroutines at once, and by a subscriber
// between two values.
type Hub[T any] struct {
	mu     sync.Mutex // held for each send and each close; none of them waits
	newest T
	subs   map[chan T]*entry
	closed bool
}

// entry is one who wants to know.
type entry struct {
	stop func() bool // keeps it from hearing its context
	gone bool
}

// New makes a hub whose newest value is first.
func New[T any](first T) *Hub[T] {
	return &Hub[T]{newest: first, subs: map[chan T]*entry{}}
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
	for ch, e := range h.subs {
		if e.gone {
			continue
		}
		select {
		case <-ch: // not read, and out of date
		default:
		}
		ch <- v // there is room: nobody else sends
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
	ch <- h.newest
	h.subs[ch] = &entry{stop: context.AfterFunc(ctx, func() { h.remove(ch) })}
	return ch
}

// remove ends a subscription, unless Close has done so.
func (h *Hub[T]) remove(ch chan T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.subs[ch]; e != nil && !e.gone {
		e.gone = true
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
	for ch, e := range h.subs {
		e.stop()
		if !e.gone {
			close(ch)
		}
	}
	clear(h.subs)
}
