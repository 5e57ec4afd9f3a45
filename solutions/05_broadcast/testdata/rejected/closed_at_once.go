// finding: broadcast.crash
//
// Close looks whether done is closed, and closes it. Two who shut the service
// down both see that it is open.

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
	done chan struct{} // closed by Close
	wg   sync.WaitGroup

	mu     sync.Mutex
	newest T
	subs   map[chan T]struct{}
}

// New makes a hub whose newest value is first.
func New[T any](first T) *Hub[T] {
	return &Hub[T]{
		done:   make(chan struct{}),
		newest: first,
		subs:   make(map[chan T]struct{}),
	}
}

func (h *Hub[T]) isClosed() bool {
	select {
	case <-h.done:
		return true
	default:
		return false
	}
}

// Publish makes v the newest value. It never waits for a subscriber: those who
// read get v at once, though others never do. After Close it returns ErrClosed.
func (h *Hub[T]) Publish(v T) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.isClosed() {
		return ErrClosed
	}
	h.newest = v
	for ch := range h.subs {
		select {
		case <-ch: // drop what was not read
		default:
		}
		ch <- v
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
	if h.isClosed() {
		close(ch)
		return ch
	}
	ch <- h.newest
	h.subs[ch] = struct{}{}
	h.wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-h.done:
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.subs, ch)
		close(ch)
	})
	return ch
}

// Close ends all subscriptions. No goroutine of the hub's is left afterwards,
// and contexts that live on hold nothing of it. It may be called several times,
// from several places at once.
func (h *Hub[T]) Close() {
	if !h.isClosed() {
		close(h.done)
	}
	// Nobody can be added who is not closed at once.
	h.mu.Lock()
	h.mu.Unlock() //nolint:staticcheck // waits for a Subscribe under way
	h.wg.Wait()
}
