package outbox_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	outbox "pitstop/lessons/18_leak_test"
)

func TestClose_LeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()

	o := outbox.New(outbox.Config{
		Send:  func(ctx context.Context, m outbox.Message) error { return nil },
		Retry: 10 * time.Millisecond,
	})
	for range 5 {
		if err := o.Push(outbox.Message{Courier: "c-7", Text: "parcel at dock 3"}); err != nil {
			t.Fatal(err)
		}
	}
	o.Close()

	time.Sleep(50 * time.Millisecond)                      // let them end
	if after := runtime.NumGoroutine(); after > before+2 { // the runtime has some of its own
		t.Errorf("%d goroutines before, %d after Close", before, after)
	}
}
