package outbox_test

// The bubble does the counting: what is left at its end is an error, and the
// clock stands still by then.

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	outbox "pitstop/lessons/18_leak_test"
)

func bubble(t *testing.T, messages int, fails bool) {
	synctest.Test(t, func(t *testing.T) {
		var last, running atomic.Int64
		o := outbox.New(outbox.Config{Retry: time.Second, Send: func(ctx context.Context, m outbox.Message) error {
			last.Store(time.Now().UnixNano())
			running.Add(1)
			defer running.Add(-1)
			if fails {
				return errors.New("no")
			}
			<-ctx.Done()
			<-time.After(time.Second)
			return ctx.Err()
		}})
		for range messages {
			_ = o.Push(outbox.Message{})
		}
		synctest.Wait()
		o.Close()
		if n := running.Load(); n > 0 {
			t.Errorf("%d sends outlive Close", n)
		}
		closed := time.Now().UnixNano()
		time.Sleep(time.Hour)
		if last.Load() > closed {
			t.Error("a send after Close")
		}
	})
}

func TestNothing(t *testing.T)    { bubble(t, 0, true) }
func TestRunning(t *testing.T)    { bubble(t, 1, false) }
func TestMany(t *testing.T)       { bubble(t, 5, false) }
func TestBetweenTry(t *testing.T) { bubble(t, 1, true) }

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := outbox.New(outbox.Config{Retry: time.Second, Send: func(context.Context, outbox.Message) error { return errors.New("no") }})
		_ = o.Push(outbox.Message{})
		synctest.Wait()
		o.Close()
	})
}
