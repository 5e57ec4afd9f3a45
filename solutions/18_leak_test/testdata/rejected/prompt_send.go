// finding: leak.missed
//
// Its Send ends the moment it is cancelled. A Close that waits a little, and not to the end, looks
// the same as one that waits.

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

func TestClose(t *testing.T) {
	const retry = time.Minute
	tests := map[string]struct {
		messages int
		send     func(ctx context.Context) error
	}{
		"idle":     {0, func(context.Context) error { return nil }},
		"succeeds": {10, func(context.Context) error { return nil }},
		"fails":    {10, func(context.Context) error { return errors.New("down") }},
		"blocks":   {10, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ignore := goleak.IgnoreCurrent()
				var running, calls atomic.Int32
				o := outbox.New(outbox.Config{Retry: retry, Send: func(ctx context.Context, _ outbox.Message) error {
					calls.Add(1)
					running.Add(1)
					defer running.Add(-1)
					return tt.send(ctx)
				}})
				for range tt.messages {
					if err := o.Push(outbox.Message{Courier: "c-7", Text: "parcel at dock 3"}); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				o.Close()
				if n := running.Load(); n != 0 {
					t.Errorf("%d Sends are running", n)
				}
				before := calls.Load()
				if err := goleak.Find(ignore); err != nil {
					t.Error(err)
				}
				time.Sleep(2*retry + time.Second)
				synctest.Wait()
				if n := calls.Load(); n != before {
					t.Errorf("%d Sends after Close", n-before)
				}
			})
		})
	}
}
