// finding: leak.missed
//
// A bubble alone finds every goroutine that is left, and no timer: the clock stands
// still when the test function has returned, so nothing fires.

package outbox_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	outbox "pitstop/lessons/18_leak_test"
)

func bubble(t *testing.T, messages int, send func(context.Context) error) {
	synctest.Test(t, func(t *testing.T) {
		var begun atomic.Int32
		o := outbox.New(outbox.Config{Retry: time.Minute, Send: func(ctx context.Context, _ outbox.Message) error {
			begun.Add(1)
			return send(ctx)
		}})
		for range messages {
			_ = o.Push(outbox.Message{})
		}
		synctest.Wait()
		o.Close()
	})
}

func fails(context.Context) error { return errors.New("no signal") }

func waits(ctx context.Context) error {
	<-ctx.Done()
	time.Sleep(100 * time.Millisecond)
	return ctx.Err()
}

func TestUnused(t *testing.T)  { bubble(t, 0, fails) }
func TestFailed(t *testing.T)  { bubble(t, 3, fails) }
func TestRunning(t *testing.T) { bubble(t, 3, waits) }
