// finding: leak.false_alarm
//
// Says that nothing may be sent from the moment Close is called. The promise is about
// the time after it has returned: a last try before that is fine.

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

func bubble(t *testing.T, messages int, send func(context.Context) error) {
	synctest.Test(t, func(t *testing.T) {
		before := goleak.IgnoreCurrent()
		var begun, running atomic.Int32
		o := outbox.New(outbox.Config{Retry: time.Minute, Send: func(ctx context.Context, _ outbox.Message) error {
			begun.Add(1)
			running.Add(1)
			defer running.Add(-1)
			return send(ctx)
		}})
		for range messages {
			_ = o.Push(outbox.Message{})
		}
		synctest.Wait()
		n := begun.Load()
		o.Close()
		if n := running.Load(); n > 0 {
			t.Errorf("%d sends run on", n)
		}
		if err := goleak.Find(before); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if m := begun.Load(); m != n {
			t.Errorf("%d sends since Close", m-n)
		}
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
