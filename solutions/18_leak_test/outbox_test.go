package outbox_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	outbox "pitstop/lessons/18_leak_test"
)

const (
	retry  = time.Minute
	linger = 100 * time.Millisecond // a Send needs this long to take its cancellation in
)

// courier counts the Sends that begin, and those that run.
type courier struct {
	begun, running atomic.Int32
	send           func(ctx context.Context) error
}

func (c *courier) Send(ctx context.Context, _ outbox.Message) error {
	c.begun.Add(1)
	c.running.Add(1)
	defer c.running.Add(-1)
	return c.send(ctx)
}

// Every case runs in a bubble: its clock is fake, and a goroutine that is
// still there at the end is an error.
func TestClose(t *testing.T) {
	for _, c := range []struct {
		name     string
		messages int
		send     func(ctx context.Context) error
	}{
		{"nothing was pushed", 0, func(context.Context) error { return nil }},
		{"everything is sent", 3, func(context.Context) error { return nil }},
		{"a message failed and waits for its next try", 3, func(context.Context) error { return errors.New("no signal") }},
		{"sends are running", 3, func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(linger)
			return ctx.Err()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := goleak.IgnoreCurrent()
				phone := &courier{send: c.send}
				o := outbox.New(outbox.Config{Send: phone.Send, Retry: retry})
				for range c.messages {
					if err := o.Push(outbox.Message{Courier: "c-7", Text: "parcel at dock 3"}); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()

				o.Close()
				if n := phone.running.Load(); n != 0 {
					t.Errorf("%d sends are running when Close has returned", n)
				}
				begun := phone.begun.Load()
				if err := goleak.Find(before); err != nil {
					t.Errorf("left when Close has returned: %v", err)
				}
				time.Sleep(2 * retry)
				synctest.Wait()
				if n := phone.begun.Load() - begun; n != 0 {
					t.Errorf("%d sends began after Close", n)
				}
			})
		})
	}
}
