// finding: leak.hangs
//
// Waits, without a bound, until no Send runs. With a context that nobody
// cancels this waits for ever, and CI says so after ten minutes.

package outbox_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	outbox "pitstop/lessons/18_leak_test"
)

func TestClose(t *testing.T) {
	var running atomic.Int32
	started := make(chan struct{})
	o := outbox.New(outbox.Config{Retry: time.Hour, Send: func(ctx context.Context, _ outbox.Message) error {
		running.Add(1)
		defer running.Add(-1)
		close(started)
		<-ctx.Done()
		return ctx.Err()
	}})
	if err := o.Push(outbox.Message{}); err != nil {
		t.Fatal(err)
	}
	<-started
	o.Close()
	for running.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
}
