//go:build !leaky

// Package outbox sends messages to couriers' phones, and tries again when a
// send fails.
package outbox

import (
	"context"
	"errors"
	"sync"
	"time"
)

var (
	// ErrClosed is Push's answer after Close.
	ErrClosed = errors.New("outbox: closed")
	// ErrFull is Push's answer when too many messages wait.
	ErrFull = errors.New("outbox: full")
)

// room is how many messages may wait.
const room = 64

// Message is a line for one courier.
type Message struct {
	Courier string
	Text    string
}

// Config is what an outbox needs.
type Config struct {
	// Send delivers one message. It returns soon after its context is
	// cancelled, though not at once: a connection wants to be closed. It may
	// be called from several goroutines.
	Send func(ctx context.Context, m Message) error
	// Retry is the pause before a message that failed is sent again.
	Retry time.Duration
}

// Outbox sends messages in the background. Make one with New.
type Outbox struct {
	cfg    Config
	queue  chan Message
	ctx    context.Context
	cancel context.CancelFunc
	worker sync.WaitGroup
}

// New starts an outbox. Close ends it.
func New(cfg Config) *Outbox {
	o := &Outbox{cfg: cfg, queue: make(chan Message, room)}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	o.worker.Go(o.run)
	return o
}

// Push hands a message over and never waits for it to be sent.
func (o *Outbox) Push(m Message) error {
	if o.ctx.Err() != nil {
		return ErrClosed
	}
	select {
	case o.queue <- m:
		return nil
	default:
		return ErrFull
	}
}

// Close ends the outbox. It cancels the sends in progress and waits for them:
// when it returns, no Send is running, nothing that the outbox started is
// left, and nothing of it will run later. A message that was not sent by then
// is lost; an outbox may try it a last time before Close returns. Closing twice
// is fine.
func (o *Outbox) Close() {
	o.cancel()
	o.worker.Wait()
}

func (o *Outbox) run() {
	for {
		select {
		case <-o.ctx.Done():
			return
		case m := <-o.queue:
			o.deliver(m)
		}
	}
}

func (o *Outbox) deliver(m Message) {
	for o.cfg.Send(o.ctx, m) != nil {
		select {
		case <-o.ctx.Done():
			return
		case <-time.After(o.cfg.Retry):
		}
	}
}
