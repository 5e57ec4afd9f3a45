// finding: leak.missed
//
// goleak in one line, as its README shows it, over Sends that succeed at once: nothing
// is running and nothing has failed when the outbox is closed.

package outbox_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	outbox "pitstop/lessons/18_leak_test"
)

func TestClose(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	o := outbox.New(outbox.Config{Retry: time.Second, Send: func(context.Context, outbox.Message) error { return nil }})
	for range 5 {
		if err := o.Push(outbox.Message{}); err != nil {
			t.Fatal(err)
		}
	}
	o.Close()
}
