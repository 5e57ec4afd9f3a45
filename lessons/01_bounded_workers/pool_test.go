package pool_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pitstop/checker/probe"
	pool "pitstop/lessons/01_bounded_workers"
)

const (
	workers = 4
	queue   = 8

	// A design with a dispatcher goroutine has one more task in hand while it
	// waits for a free worker. That is still a bound.
	mostAccepted = workers + queue + 1

	// A goroutine for each accepted task is a bound as well; a few more may
	// look after the pool.
	mostGoroutines = mostAccepted + 4
)

func TestPool_NeverRunsMoreTasksThanWorkers(t *testing.T) {
	p := pool.New(pool.Config{Workers: workers, Queue: queue})
	j := newJobs(t)
	j.fill(p)

	// A pool that lets one more through needs a moment to show it.
	probe.Poll(100*time.Millisecond, func() bool { return j.running.Load() > workers })
	j.open()
	wait.Eventually(func() bool { return j.ended.Load() == j.accepted })
	if peak := j.peak.Load(); !probe.AtMost(t, "tasks running at once", peak, workers, "tasks") {
		probe.Errorf(t, "pool.unbounded", "%d tasks ran at once in a pool of %d workers.", peak, workers)
	}
}

func TestPool_RunsAsManyTasksAsWorkers(t *testing.T) {
	p := pool.New(pool.Config{Workers: workers, Queue: queue})
	j := newJobs(t)
	checkWidth(t, p, j, "pool.serial", "in a fresh pool")
}

func TestPool_FullQueueRefusesAtOnce(t *testing.T) {
	checkSentinels(t)
	p := pool.New(pool.Config{Workers: workers, Queue: queue})
	j := newJobs(t)
	refusal := j.fill(p)

	if !probe.AtMost(t, "tasks accepted while none ends", j.accepted, mostAccepted, "tasks") {
		probe.Errorf(t, "pool.queue", "%d tasks were accepted while none could end: %d workers and a queue of %d hold %d.",
			j.accepted, workers, queue, workers+queue)
	}
	if !probe.AtLeast(t, "tasks accepted before the first refusal", j.beforeRefusal, queue, "tasks") {
		probe.Errorf(t, "pool.refused", "Submit refused a task after %d were accepted: %d workers and a queue of %d hold more.",
			j.beforeRefusal, workers, queue)
	}
	if refusal != nil && !errors.Is(refusal, pool.ErrQueueFull) {
		probe.Errorf(t, "pool.error", "a full queue was refused with %q, which is not ErrQueueFull.", refusal)
	}

	// Full is a state, not the end: once tasks have run there is room again.
	j.open()
	if !wait.Eventually(func() bool { return j.ended.Load() == j.accepted }) {
		probe.Fatalf(t, "pool.task_lost", "%d of %d accepted tasks had not run %v after the pool could go on.",
			j.accepted-j.ended.Load(), j.accepted, wait.Limit())
	}
	if !wait.Eventually(func() bool { return j.submit(p) == nil }) {
		probe.Errorf(t, "pool.refused", "all tasks have run, and Submit still refuses.")
	}
}

func TestPool_GoroutinesStayBounded(t *testing.T) {
	before := runtime.NumGoroutine()
	p := pool.New(pool.Config{Workers: workers, Queue: queue})
	j := newJobs(t)
	j.fill(p)
	// The goroutine that made the last call may still be on its way out.
	probe.Poll(50*time.Millisecond, func() bool { return runtime.NumGoroutine()-before <= mostGoroutines })
	n := runtime.NumGoroutine() - before
	if !probe.AtMost(t, "goroutines under a slow database", n, mostGoroutines, "goroutines") {
		probe.Errorf(t, "pool.goroutines", "%d goroutines stand in a pool of %d workers and a queue of %d after %d calls of Submit.",
			n, workers, queue, j.offered)
	}
}

func TestPool_ShutdownReturnsAfterEveryAcceptedTask(t *testing.T) {
	leaked := probe.Baseline()
	p := pool.New(pool.Config{Workers: workers, Queue: queue})
	j := newJobs(t)
	j.fill(p)

	done := shutdown(context.Background(), p)
	var r result
	select {
	case r = <-done.done:
		if r.panicked != nil {
			probe.Fatalf(t, "pool.panic", "Shutdown panicked with %q.", fmt.Sprint(r.panicked))
		}
	case <-time.After(50 * time.Millisecond): // it waits, as it should
		j.open()
		r = done.wait(t, "pool.hang", "the %d accepted tasks could all run", j.accepted)
	}
	ended := j.ended.Load()
	if r.err != nil {
		probe.Errorf(t, "pool.shutdown_error", "Shutdown returned %q although its context has no end.", r.err)
	}
	if !probe.Equal(t, "tasks that had run when Shutdown returned", ended, j.accepted, "tasks") {
		probe.Errorf(t, "pool.shutdown_early", "Shutdown returned when %d of %d accepted tasks had run.", ended, j.accepted)
	}

	j.open()
	if gs := leaked(t, 2*time.Second); len(gs) > 0 {
		probe.Errorf(t, "pool.leak", "%d goroutines are left after Shutdown: %s.", len(gs), probe.Where(gs))
	}
}

// checkSentinels fails a pool whose errors cannot be told apart, since no
// other test could then be trusted.
func checkSentinels(t *testing.T) {
	t.Helper()
	full, closed, other := pool.ErrQueueFull, pool.ErrClosed, errors.New("some other error")
	switch {
	case full == nil || closed == nil:
		probe.Fatalf(t, "pool.error", "ErrQueueFull is %v and ErrClosed is %v: neither may be nil.", full, closed)
	case errors.Is(full, closed) || errors.Is(closed, full):
		probe.Fatalf(t, "pool.error", "errors.Is cannot tell ErrQueueFull from ErrClosed.")
	case errors.Is(full, other) || errors.Is(closed, other):
		probe.Fatalf(t, "pool.error", "errors.Is takes ErrQueueFull or ErrClosed for any error.")
	}
}

// checkWidth submits one task for each worker and fails with code unless they
// all run side by side.
func checkWidth(t *testing.T, p *pool.Pool, j *jobs, code, where string) {
	t.Helper()
	for range workers {
		if !wait.Eventually(func() bool { return j.submit(p) == nil }) {
			probe.Fatalf(t, code, "Submit keeps refusing %s, where %d tasks are accepted and %d have ended.", where, j.accepted, j.ended.Load())
		}
	}
	wait.Eventually(func() bool { return j.running.Load() == workers })
	if n := j.running.Load(); !probe.Equal(t, "tasks side by side "+where, n, workers, "tasks") {
		probe.Errorf(t, code, "only %d of %d workers are at work %s, though %d tasks could run.", n, workers, where, workers)
	}
	j.open()
}

// jobs makes tasks that wait at a gate, as if the database were slow, and
// counts what becomes of them. Only the test's goroutine uses the plain fields.
type jobs struct {
	t    testing.TB
	gate chan struct{}
	open func()

	offered, accepted, beforeRefusal int64
	running, peak, ended             atomic.Int64
}

func newJobs(t testing.TB) *jobs {
	j := &jobs{t: t, gate: make(chan struct{})}
	j.open = sync.OnceFunc(func() { close(j.gate) })
	t.Cleanup(j.open)
	return j
}

func (j *jobs) task() {
	n := j.running.Add(1)
	for {
		old := j.peak.Load()
		if n <= old || j.peak.CompareAndSwap(old, n) {
			break
		}
	}
	<-j.gate
	j.running.Add(-1)
	j.ended.Add(1)
}

// submit offers one task. A call that panics or does not come back ends the test.
func (j *jobs) submit(p *pool.Pool) error {
	j.t.Helper()
	j.offered++
	r := call("Submit", func() error { return p.Submit(j.task) }).wait(j.t, "pool.submit_blocks",
		"it was called with %d tasks running and %d accepted", j.running.Load(), j.accepted-j.ended.Load())
	if r.err == nil {
		j.accepted++
	}
	return r.err
}

// fill offers tasks until the pool has refused 200 in a row, or has taken far
// more than it can hold, and returns the last refusal.
func (j *jobs) fill(p *pool.Pool) (refusal error) {
	j.t.Helper()
	started := time.Now()
	for row := 0; row < 200 && j.accepted < 300; {
		err := j.submit(p)
		if err == nil {
			row = 0
			continue
		}
		if refusal == nil {
			j.beforeRefusal = j.accepted
		}
		refusal = err
		row++
		if row == 1 {
			// What the pool took may still be on its way to a worker.
			time.Sleep(time.Millisecond)
		}
		if time.Since(started) > wait.Limit() {
			wait.InVain()
			probe.Fatalf(j.t, "pool.submit_blocks", "%d calls of Submit took more than %v while the pool was full: it waits before it refuses.",
				j.offered, wait.Limit())
		}
	}
	if refusal == nil {
		j.beforeRefusal = j.accepted
	}
	return refusal
}

// result is how a call ended.
type result struct {
	err      error
	panicked any
}

// pending is a call under way.
type pending struct {
	name string
	done <-chan result
}

// call runs f in a goroutine of its own, so that one that hangs or panics can
// be told of.
func call(name string, f func() error) pending {
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			r.panicked = recover()
			done <- r
		}()
		r.err = f()
	}()
	return pending{name, done}
}

func shutdown(ctx context.Context, p *pool.Pool) pending {
	return call("Shutdown", func() error { return p.Shutdown(ctx) })
}

// wait returns the result of a call. It ends the test with code when the call
// is not back in time, and with pool.panic when it panicked.
func (c pending) wait(t testing.TB, code, situation string, args ...any) result {
	t.Helper()
	limit := wait.Limit()
	select {
	case r := <-c.done:
		if r.panicked != nil {
			probe.Fatalf(t, "pool.panic", "%s panicked with %q; %s.", c.name, fmt.Sprint(r.panicked), fmt.Sprintf(situation, args...))
		}
		return r
	case <-time.After(limit):
		wait.InVain()
		probe.Fatalf(t, code, "%s was not back after %v; %s.", c.name, limit, fmt.Sprintf(situation, args...))
		panic("unreachable")
	}
}

// wait is how long a test waits for what must come.
var wait = probe.Patience{Full: 3 * time.Second, Short: 400 * time.Millisecond}
