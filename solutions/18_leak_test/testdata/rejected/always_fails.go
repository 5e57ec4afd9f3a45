// finding: leak.false_alarm
//
// Fails on every broken outbox, and on every other.

package outbox_test

import (
	"context"
	"testing"
	"time"

	outbox "pitstop/lessons/18_leak_test"
)

func TestClose(t *testing.T) {
	o := outbox.New(outbox.Config{Retry: time.Hour, Send: func(context.Context, outbox.Message) error { return nil }})
	o.Close()
	if err := o.Push(outbox.Message{}); err != nil {
		t.Error("closed")
	}
}
