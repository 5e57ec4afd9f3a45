package outbox_test

// Reads the stacks of the goroutines in the bubble, and asserts with testify.

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	outbox "pitstop/lessons/18_leak_test"
)

// ours counts the goroutines that stand in the outbox's code.
func ours() int {
	buf := make([]byte, 1<<20)
	n := 0
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "18_leak_test.(*") || strings.Contains(g, "18_leak_test.New") || strings.Contains(g, "18_leak_test.init") && strings.Contains(g, "synctest") {
			n++
		}
	}
	return n
}

func TestClose(t *testing.T) {
	sends := map[string]func(context.Context) error{
		"fails": func(context.Context) error { return errors.New("no") },
		"waits": func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			return ctx.Err()
		},
	}
	for name, send := range sends {
		for _, n := range []int{0, 4} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					calls := make(chan time.Time, 1000)
					o := outbox.New(outbox.Config{Retry: 10 * time.Second, Send: func(ctx context.Context, m outbox.Message) error {
						calls <- time.Now()
						return send(ctx)
					}})
					for range n {
						require.NoError(t, o.Push(outbox.Message{Text: "hello"}))
					}
					synctest.Wait()
					o.Close()
					at := time.Now()
					synctest.Wait()
					require.Zero(t, ours(), "goroutines in the outbox after Close")
					require.ErrorIs(t, o.Push(outbox.Message{}), outbox.ErrClosed)
					o.Close()
					time.Sleep(time.Minute)
					synctest.Wait()
					close(calls)
					for c := range calls {
						require.False(t, c.After(at), "a send %s after Close", c.Sub(at))
					}
				})
			})
		}
	}
}
