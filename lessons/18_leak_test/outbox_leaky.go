//go:build leaky

// Package outbox sends messages to couriers' phones, and tries again when a
// send fails. This is the version that was in production for eleven weeks:
// go test -tags=leaky runs the tests against it.
package outbox

import (
	"context"
	"errors"
	"sync/atomic"
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
	Send  func(ctx context.Context, m Message) error
	Retry time.Duration
}

// Outbox sends messages in the background. Make one with New.
type Outbox struct {
	cfg    Config
	queue  chan Message
	closed atomic.Bool
	ctx    context.Context
	cancel context.CancelFunc
}

// New starts an outbox. Close ends it.
func New(cfg Config) *Outbox {
	o := &Outbox{cfg: cfg, queue: make(chan Message, room)}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	go o.run()
	return o
}

// Push hands a message over and never waits for it to be sent.
func (o *Outbox) Push(m Message) error {
	if o.closed.Load() {
		return ErrClosed
	}
	select {
	case o.queue <- m:
		return nil
	default:
		return ErrFull
	}
}

// Close ends the outbox.
func (o *Outbox) Close() {
	o.closed.Store(true)
	o.cancel()
}

func (o *Outbox) run() {
	for m := range o.queue {
		o.deliver(m)
	}
}

func (o *Outbox) deliver(m Message) {
	if err := o.cfg.Send(o.ctx, m); err != nil {
		time.AfterFunc(o.cfg.Retry, func() { o.deliver(m) })
	}
}
