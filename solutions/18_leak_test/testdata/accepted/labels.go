package outbox_test

// Goroutines inherit the profiler's labels, so the goroutine profile says
// which of them the outbox started.

import (
	"bytes"
	"context"
	"errors"
	"runtime/pprof"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	outbox "pitstop/lessons/18_leak_test"
)

const mark = "courier-outbox"

// marked counts the labelled goroutines, the caller's own left out.
func marked(t *testing.T) (n int) {
	var b bytes.Buffer
	assert.NoError(t, pprof.Lookup("goroutine").WriteTo(&b, 1))
	for g := range strings.SplitSeq(b.String(), "\n\n") {
		if strings.Contains(g, mark) && !strings.Contains(g, "WriteTo") {
			n++
		}
	}
	return n
}

type call struct {
	begin time.Time
	end   time.Time
}

func run(t *testing.T, messages int, end error, after time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		pprof.SetGoroutineLabels(pprof.WithLabels(t.Context(), pprof.Labels(mark, "yes")))
		calls := make(chan *call, 1000)
		o := outbox.New(outbox.Config{Retry: 10 * time.Minute, Send: func(ctx context.Context, _ outbox.Message) error {
			c := &call{begin: time.Now()}
			calls <- c
			if end == nil {
				<-ctx.Done()
				time.Sleep(3 * time.Second)
			}
			c.end = time.Now()
			return errors.Join(end, ctx.Err())
		}})
		for range messages {
			assert.NoError(t, o.Push(outbox.Message{Courier: "c"}))
		}
		time.Sleep(after)
		synctest.Wait()
		o.Close()
		closed := time.Now()
		synctest.Wait()
		assert.Zero(t, marked(t), "goroutines that the outbox started")
		time.Sleep(time.Hour)
		synctest.Wait()
		close(calls)
		for c := range calls {
			assert.False(t, c.begin.After(closed), "a send began after Close")
			assert.False(t, c.end.IsZero() || c.end.After(closed), "a send ended after Close")
		}
	})
}

func TestClose(t *testing.T) {
	failed := errors.New("no signal")
	t.Run("unused", func(t *testing.T) { run(t, 0, nil, 0) })
	t.Run("sending", func(t *testing.T) { run(t, 2, nil, 0) })
	t.Run("failed", func(t *testing.T) { run(t, 2, failed, 0) })
	t.Run("failed twice", func(t *testing.T) { run(t, 2, failed, 15*time.Minute) })
}
