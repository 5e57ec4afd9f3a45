// finding: leak.missed
//
// goleak over Sends that fail, with a short pause. It looks for a while, and what ends
// in that while is gone: the sleeper, and the Send that was not waited for.

package outbox_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	outbox "pitstop/lessons/18_leak_test"
)

func TestClose(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	o := outbox.New(outbox.Config{Retry: 20 * time.Millisecond, Send: func(ctx context.Context, _ outbox.Message) error {
		return errors.New("no signal")
	}})
	for range 5 {
		if err := o.Push(outbox.Message{}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(5 * time.Millisecond)
	o.Close()
}
