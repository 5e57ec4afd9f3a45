// finding: leak.missed
//
// The shipped test without its slack: a count of goroutines, 50 ms later. What is
// left must be there at that moment, and be a goroutine by then.

package outbox_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	outbox "pitstop/lessons/18_leak_test"
)

func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	o := outbox.New(outbox.Config{Retry: 10 * time.Millisecond, Send: func(context.Context, outbox.Message) error { return nil }})
	for range 5 {
		_ = o.Push(outbox.Message{})
	}
	o.Close()
	time.Sleep(50 * time.Millisecond)
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines before, %d after", before, after)
	}
}
