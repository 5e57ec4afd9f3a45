// Nobody is on a list. Each value comes with a channel that is closed when
// there is a newer one; a close is heard by all who wait, however many they
// are.

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

// generation is a value and the news that there is a newer one.
type generation[T any] struct {
	value T
	over  chan struct{}
	next  *generation[T] // once over is closed; nil for the end
}

// Hub keeps the newest value and tells its subscribers. Make one with New. All
// methods may be called from several goroutines at once, and by a subscriber
// between two values.
type Hub[T any] struct {
	mu  sync.Mutex
	now *generation[T] // nil when closed
}

// New makes a hub whose newest value is first.
func New[T any](first T) *Hub[T] {
	return &Hub[T]{now: &generation[T]{value: first, over: make(chan struct{})}}
}

// Publish makes v the newest value. It never waits for a subscriber: those who
// read get v at once, though others never do. After Close it returns ErrClosed.
func (h *Hub[T]) Publish(v T) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now == nil {
		return ErrClosed
	}
	h.turn(&generation[T]{value: v, over: make(chan struct{})})
	return nil
}

func (h *Hub[T]) turn(next *generation[T]) {
	old := h.now
	old.next, h.now = next, next
	close(old.over)
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
	if h.now == nil {
		close(out)
		return out
	}
	go follow(ctx, h.now, out)
	return out
}

func follow[T any](ctx context.Context, g *generation[T], out chan<- T) {
	defer close(out)
	to := out
	for g != nil {
		select {
		case <-g.over: // ahead of a reader who comes at the same time
			g, to = g.next, out
			continue
		default:
		}
		select {
		case to <- g.value:
			to = nil
		case <-g.over:
			g, to = g.next, out
		case <-ctx.Done():
			return
		}
	}
}

// Close ends all subscriptions. No goroutine of the hub's is left afterwards,
// and contexts that live on hold nothing of it. It may be called several times,
// from several places at once.
func (h *Hub[T]) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now != nil {
		h.turn(nil)
	}
}
