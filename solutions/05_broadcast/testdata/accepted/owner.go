// One goroutine owns the value and the subscribers; the others send it
// functions. It never waits for a subscriber, so nobody waits long for it.

// Package broadcast hands on one value to all who want to know: dispatchd's
// settings, which change while it runs, to everything that goes by them.
package broadcast

import (
	"context"
	"errors"
)

// ErrClosed is returned by Publish once the hub has been closed.
var ErrClosed = errors.New("broadcast: closed")

// Hub keeps the newest value and tells its subscribers. Make one with New. All
// methods may be called from several goroutines at once, and by a subscriber
// between two values.
type Hub[T any] struct {
	do    chan func(*state[T])
	ended chan struct{}
}

type state[T any] struct {
	newest T
	subs   map[chan T]func() bool
	closed bool
}

// New makes a hub whose newest value is first.
func New[T any](first T) *Hub[T] {
	h := &Hub[T]{do: make(chan func(*state[T])), ended: make(chan struct{})}
	go func() {
		defer close(h.ended)
		s := &state[T]{newest: first, subs: map[chan T]func() bool{}}
		for !s.closed {
			f := <-h.do
			f(s)
		}
		for ch, stop := range s.subs {
			stop()
			close(ch)
		}
	}()
	return h
}

// ask has f done by the owner, and reports false when there is none any more.
func (h *Hub[T]) ask(f func(*state[T])) bool {
	done := make(chan struct{})
	select {
	case h.do <- func(s *state[T]) { f(s); close(done) }:
		<-done
		return true
	case <-h.ended:
		return false
	}
}

// Publish makes v the newest value. It never waits for a subscriber: those who
// read get v at once, though others never do. After Close it returns ErrClosed.
func (h *Hub[T]) Publish(v T) error {
	if !h.ask(func(s *state[T]) {
		s.newest = v
		for ch := range s.subs {
			select {
			case <-ch:
			default:
			}
			ch <- v
		}
	}) {
		return ErrClosed
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
	ch := make(chan T, 1)
	if !h.ask(func(s *state[T]) {
		ch <- s.newest
		s.subs[ch] = context.AfterFunc(ctx, func() {
			h.ask(func(s *state[T]) {
				if _, ok := s.subs[ch]; ok {
					delete(s.subs, ch)
					close(ch)
				}
			})
		})
	}) {
		close(ch)
	}
	return ch
}

// Close ends all subscriptions. No goroutine of the hub's is left afterwards,
// and contexts that live on hold nothing of it. It may be called several times,
// from several places at once.
func (h *Hub[T]) Close() {
	h.ask(func(s *state[T]) { s.closed = true })
	<-h.ended
}
