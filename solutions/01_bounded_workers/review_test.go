//go:build review

package pool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pitstop/checker/probe"
	pool "pitstop/lessons/01_bounded_workers"
)

func TestMain(m *testing.M) {
	probe.Main(m, map[string]func() int{"panics": panics})
}

func TestReview_SubmitIsRefusedFromShutdownOn(t *testing.T) {
	checkSentinels(t)
	t.Run("while tasks run", func(t *testing.T) {
		p := pool.New(pool.Config{Workers: workers, Queue: queue})
		j := newJobs(t)
		checkSubmitted(t, p, j, workers)
		done := shutdown(context.Background(), p)
		untilClosed(t, p, j)
		for range 200 {
			if err := submitClosing(t, p, j); !errors.Is(err, pool.ErrClosed) {
				probe.Fatalf(t, "pool.closed", "Submit gave %v after it had given ErrClosed once: a pool stays closed.", err)
			}
		}
		j.open()
		done.wait(t, "pool.hang", "all %d accepted tasks could run", j.accepted)
		if n := j.ended.Load(); n != j.accepted {
			probe.Errorf(t, "pool.task_lost", "%d of %d tasks accepted before or during Shutdown had run when it returned.", n, j.accepted)
		}
	})
	t.Run("while it is full", func(t *testing.T) {
		p := pool.New(pool.Config{Workers: workers, Queue: queue})
		j := newJobs(t)
		j.fill(p)
		done := shutdown(context.Background(), p)
		if !wait.Eventually(func() bool { return errors.Is(submitClosing(t, p, j), pool.ErrClosed) }) {
			probe.Errorf(t, "pool.closed", "Submit keeps giving %v while Shutdown waits for a full pool: callers are told to come back to one that takes nothing any more.", submitClosing(t, p, j))
		}
		j.open()
		done.wait(t, "pool.hang", "all %d accepted tasks could run", j.accepted)
	})
	t.Run("afterwards", func(t *testing.T) {
		p := pool.New(pool.Config{Workers: workers, Queue: queue})
		j := newJobs(t)
		checkShutdown(t, p, "nothing was ever submitted")
		for range 3 * (workers + queue) {
			if err := submitClosing(t, p, j); !errors.Is(err, pool.ErrClosed) {
				probe.Fatalf(t, "pool.closed", "Submit gave %v after Shutdown, not ErrClosed.", err)
			}
		}
	})
	t.Run("given up before it began", func(t *testing.T) {
		p := pool.New(pool.Config{Workers: workers, Queue: queue})
		j := newJobs(t)
		checkSubmitted(t, p, j, workers)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		r := shutdown(ctx, p).wait(t, "pool.deadline", "its context had ended before the call")
		if !errors.Is(r.err, context.Canceled) {
			probe.Errorf(t, "pool.deadline", "Shutdown returned %v with a cancelled context and %d tasks at work.", r.err, j.running.Load())
		}
		if err := submitClosing(t, p, j); !errors.Is(err, pool.ErrClosed) {
			probe.Errorf(t, "pool.closed", "Submit gave %v after Shutdown had given up: the intake was left open.", err)
		}
	})
}

func TestReview_ShutdownGivesUpAtItsDeadline(t *testing.T) {
	leaked := probe.Baseline()
	p := pool.New(pool.Config{Workers: workers, Queue: queue})
	j := newJobs(t)
	checkSubmitted(t, p, j, workers)
	wait.Eventually(func() bool { return j.running.Load() == workers })
	for range queue {
		j.submit(p)
	}

	for _, turn := range []string{"first", "second"} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		r := shutdown(ctx, p).wait(t, "pool.deadline", "it was the %s call and its context had ended after 30ms", turn)
		left := ctx.Err() == nil
		cancel()
		switch {
		case left:
			probe.Fatalf(t, "pool.deadline", "the %s Shutdown returned %v before its context had ended, with %d tasks at work.", turn, r.err, j.running.Load())
		case !errors.Is(r.err, context.DeadlineExceeded):
			probe.Fatalf(t, "pool.deadline", "the %s Shutdown returned %v at its deadline, with %d tasks at work: it must give context.DeadlineExceeded.", turn, r.err, j.running.Load())
		}
	}

	// It gave up waiting; the work goes on.
	done := shutdown(context.Background(), p)
	j.open()
	r := done.wait(t, "pool.hang", "an earlier call had given up, and all tasks could run by now")
	if n := j.ended.Load(); r.err == nil && !probe.Equal(t, "tasks run after a deadline had passed", n, j.accepted, "tasks") {
		probe.Errorf(t, "pool.task_lost", "%d of %d accepted tasks have run after one Shutdown gave up and the next returned nil.", n, j.accepted)
	}
	if r.err != nil {
		probe.Errorf(t, "pool.shutdown_error", "Shutdown returned %q, although all tasks have run and its context has no end.", r.err)
	}
	if gs := leaked(t, 2*time.Second); len(gs) > 0 {
		probe.Errorf(t, "pool.leak", "%d goroutines are left after Shutdown: %s.", len(gs), probe.Where(gs))
	}
}

func TestReview_ShutdownFromSeveralPlaces(t *testing.T) {
	p := pool.New(pool.Config{Workers: workers, Queue: queue})
	j := newJobs(t)
	checkSubmitted(t, p, j, queue)
	calls := []pending{shutdown(context.Background(), p)}
	untilClosed(t, p, j)

	type early struct{ ended, accepted int64 }
	const callers = 8
	var tooEarly atomic.Pointer[early]
	for len(calls) < callers {
		calls = append(calls, call("Shutdown", func() error {
			err := p.Shutdown(context.Background())
			if n := j.ended.Load(); err == nil && n < queue {
				tooEarly.Store(&early{n, queue})
			}
			return err
		}))
	}
	// A caller with less time than the others still gives up by itself.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	r := shutdown(ctx, p).wait(t, "pool.deadline", "others wait in Shutdown without a deadline, this call had one of 30ms")
	if r.err == nil {
		tooEarly.Store(&early{j.ended.Load(), queue})
	}
	j.open()
	for i, c := range calls {
		r := c.wait(t, "pool.hang", "it was call %d of %d at the same time, and all tasks could run", i+1, callers)
		if r.err != nil {
			probe.Errorf(t, "pool.shutdown_error", "call %d of %d to Shutdown returned %q although its context has no end.", i+1, callers, r.err)
		}
	}
	if e := tooEarly.Load(); e != nil {
		probe.Errorf(t, "pool.shutdown_early", "one of %d calls to Shutdown returned nil when %d of %d tasks had run.", callers+1, e.ended, e.accepted)
	}
	checkShutdown(t, p, "it was called once more after all was done")
}

func TestReview_PanicStaysInItsTask(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*wait.Limit())
	defer cancel()
	proc := probe.Start(t, "panics")
	for _, hook := range []string{"with OnPanic", "without OnPanic"} {
		line, err := proc.Line(ctx, hook+" ")
		if err != nil && ctx.Err() == nil {
			status, _ := proc.Wait(ctx)
			probe.Fatalf(t, "pool.panic", "a task that panics ended the process with status %d, in a pool %s.", status, hook)
		}
		if err != nil {
			probe.Fatalf(t, "pool.hang", "a pool %s did not get through %d tasks that panic.", hook, panicking)
		}
		var o outcome
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("outcome %q: %v", line, err)
		}
		if !probe.Equal(t, "workers left after panics "+hook, o.Width, workers, "workers") {
			wait.InVain()
			probe.Errorf(t, "pool.worker_lost", "%d of %d workers are left after %d tasks that panic, %s: a panic ends more than its task.",
				o.Width, workers, panicking, hook)
		}
		if !o.Drained {
			probe.Errorf(t, "pool.hang", "Shutdown does not come back after %d tasks that panic, %s.", panicking, hook)
		}
		if hook == "with OnPanic" {
			if !probe.Equal(t, "panics reported", o.Reports, panicking, "panics") || o.Distinct != panicking {
				probe.Errorf(t, "pool.panic_report", "%d tasks panicked; OnPanic was called %d times, with %d of the values they panicked with.",
					panicking, o.Reports, o.Distinct)
			} else if o.Stacks != panicking {
				probe.Errorf(t, "pool.panic_report", "%d of %d stacks given to OnPanic show the function that panicked.", o.Stacks, panicking)
			}
		}
	}
}

func TestReview_ShutdownWaitsForOnPanic(t *testing.T) {
	told, gate := make(chan struct{}), make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(open)
	p := pool.New(pool.Config{Workers: 1, Queue: 1, OnPanic: func(any, []byte) {
		close(told)
		<-gate
	}})
	if err := p.Submit(func() { panic("no such street") }); err != nil {
		probe.Fatalf(t, "pool.refused", "Submit refused the first task with %q.", err)
	}
	select {
	case <-told:
	case <-time.After(wait.Limit()):
		probe.Fatalf(t, "pool.panic_report", "OnPanic has not heard of a panic after %v.", wait.Limit())
	}
	var beside atomic.Bool
	if err := p.Submit(func() { beside.Store(true) }); err == nil && probe.Poll(20*time.Millisecond, beside.Load) {
		probe.Errorf(t, "pool.unbounded", "a pool of one worker ran a second task while OnPanic was at work for the first: it is part of that task.")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	r := shutdown(ctx, p).wait(t, "pool.deadline", "its context had ended after 30ms")
	if r.err == nil {
		probe.Errorf(t, "pool.shutdown_early", "Shutdown returned nil while OnPanic was at work: a process that exits now loses the report.")
	}
	open()
	checkShutdown(t, p, "OnPanic had returned")
}

// A worker that is free takes a task that waits, and one only.
func TestReview_NoTaskStandsBehindASlowOne(t *testing.T) {
	const tasks = workers + queue
	p := pool.New(pool.Config{Workers: workers, Queue: queue})
	var gates [tasks]func()
	var begun atomic.Int64
	var order [tasks]atomic.Int64 // the task that was the nth to begin, plus 1
	var ended atomic.Int64
	accepted := int64(0)
	submit := func(i int) {
		gate := make(chan struct{})
		gates[i] = sync.OnceFunc(func() { close(gate) })
		t.Cleanup(gates[i])
		if p.Submit(func() {
			order[begun.Add(1)-1].Store(int64(i) + 1)
			<-gate
			ended.Add(1)
		}) == nil {
			accepted++
		}
	}
	began := func(n int) bool {
		return wait.Eventually(func() bool {
			for k := range n {
				if order[k].Load() == 0 {
					return false
				}
			}
			return true
		})
	}
	for i := range workers {
		submit(i)
	}
	if accepted < workers || !began(workers) {
		probe.Fatalf(t, "pool.narrow", "a pool of %d workers accepted %d tasks when it was idle, and %d began.", workers, accepted, begun.Load())
	}
	for i := range queue {
		submit(workers + i)
	}
	if accepted == workers {
		probe.Fatalf(t, "pool.refused", "a pool with a queue of %d accepted none when all workers were busy.", queue)
	}
	gates[order[0].Load()-1]()
	if !began(workers + 1) {
		probe.Fatalf(t, "pool.narrow", "a task has ended, others wait, and none began.")
	}
	slow := order[workers].Load() - 1 // the one that began in its place
	for i, open := range gates {
		if int64(i) != slow && open != nil {
			open()
		}
	}
	if !wait.Eventually(func() bool { return ended.Load() == accepted-1 }) {
		probe.Errorf(t, "pool.held_up", "one of %d accepted tasks is slow, %d workers are free, and %d others do not run: they stand behind it.", accepted, workers-1, accepted-1-ended.Load())
	}
	gates[slow]()
	checkShutdown(t, p, "all tasks could run")
}

func TestReview_EachAcceptedTaskRunsOnce(t *testing.T) {
	const rounds, submitters, each = 60, 4, 100
	var peak, total, refused int64
	for round := range rounds {
		p := pool.New(pool.Config{Workers: workers, Queue: queue})
		var (
			runs      [submitters][each]atomic.Int32
			errs      [submitters][each]error
			all       atomic.Int64
			running   atomic.Int64
			most      atomic.Int64
			submitted atomic.Int64
			calls     []pending
		)
		for s := range submitters {
			calls = append(calls, call("Submit", func() error {
				for i := range each {
					errs[s][i] = p.Submit(func() {
						n := running.Add(1)
						for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
						}
						runs[s][i].Add(1)
						all.Add(1)
						runtime.Gosched()
						running.Add(-1)
					})
					submitted.Add(1)
					if errors.Is(errs[s][i], pool.ErrQueueFull) {
						runtime.Gosched()
					}
				}
				return nil
			}))
		}
		// Shutdown comes at another point of the storm in each round.
		wait.Eventually(func() bool { return submitted.Load() >= int64(round*submitters*each/rounds) })
		one, two := shutdown(context.Background(), p), shutdown(context.Background(), p)
		one.wait(t, "pool.hang", "tasks were being submitted")
		two.wait(t, "pool.hang", "tasks were being submitted")
		atReturn := all.Load()
		for _, c := range calls {
			c.wait(t, "pool.submit_blocks", "Shutdown was called meanwhile")
		}
		probe.Poll(time.Millisecond, func() bool { return all.Load() != atReturn })
		if n := all.Load(); n != atReturn {
			probe.Fatalf(t, "pool.shutdown_early", "%d tasks ran after both calls to Shutdown had returned.", n-atReturn)
		}
		for s := range submitters {
			for i := range each {
				n, err := runs[s][i].Load(), errs[s][i]
				switch {
				case err == nil && n == 0:
					probe.Fatalf(t, "pool.task_lost", "a task was accepted while Shutdown began and never ran.")
				case err == nil && n > 1, err != nil && n > 0:
					probe.Fatalf(t, "pool.ran_twice", "a task ran %d times; Submit had returned %v for it.", n, err)
				case err != nil && !errors.Is(err, pool.ErrQueueFull) && !errors.Is(err, pool.ErrClosed):
					probe.Fatalf(t, "pool.error", "Submit returned %q, which is neither ErrQueueFull nor ErrClosed.", err)
				case err != nil:
					refused++
				}
				total++
			}
		}
		peak = max(peak, most.Load())
	}
	probe.Note(t, "tasks offered in a storm", total, "tasks")
	probe.Note(t, "tasks refused in a storm", refused, "tasks")
	if !probe.AtMost(t, "tasks running at once in a storm", peak, workers, "tasks") {
		probe.Errorf(t, "pool.unbounded", "%d tasks ran at once in a pool of %d workers while four goroutines were submitting.", peak, workers)
	}
}

func TestReview_TaskMaySubmit(t *testing.T) {
	t.Run("to an open pool", func(t *testing.T) {
		p := pool.New(pool.Config{Workers: 1, Queue: 1})
		var parents, children, accepted atomic.Int64
		for i := range 10 {
			taken := submitSoon(t, p, "pool.deadlock", func() {
				if p.Submit(func() { children.Add(1) }) == nil {
					accepted.Add(1)
				}
				parents.Add(1)
			})
			if !taken {
				probe.Fatalf(t, "pool.refused", "an idle pool keeps refusing.")
			}
			if !wait.Eventually(func() bool { return parents.Load() == int64(i+1) && children.Load() == accepted.Load() }) {
				probe.Fatalf(t, "pool.deadlock", "a task that calls Submit does not get on: %d of %d such tasks have ended, and %d of %d that they added.",
					parents.Load(), i+1, children.Load(), accepted.Load())
			}
		}
	})
	t.Run("to a pool that shuts down", func(t *testing.T) {
		p := pool.New(pool.Config{Workers: workers, Queue: queue})
		j := newJobs(t)
		gate := make(chan struct{})
		open := sync.OnceFunc(func() { close(gate) })
		t.Cleanup(open)
		answer := make(chan error, 1)
		taken := submitSoon(t, p, "pool.submit_blocks", func() {
			<-gate
			answer <- p.Submit(func() {})
		})
		if !taken {
			probe.Fatalf(t, "pool.refused", "an idle pool keeps refusing.")
		}
		done := shutdown(context.Background(), p)
		untilClosed(t, p, j)
		j.open()
		open()
		select {
		case err := <-answer:
			if !errors.Is(err, pool.ErrClosed) {
				probe.Errorf(t, "pool.closed", "a task that called Submit during Shutdown got %v, not ErrClosed.", err)
			}
		case <-time.After(wait.Limit()):
			wait.InVain()
			probe.Fatalf(t, "pool.deadlock", "a task called Submit during Shutdown and was not back after %v: each waits for the other.", wait.Limit())
		}
		done.wait(t, "pool.hang", "a task had called Submit meanwhile")
	})
}

func TestReview_SlowTasksHoldUpNoOthers(t *testing.T) {
	p := pool.New(pool.Config{Workers: workers, Queue: queue})
	j := newJobs(t)
	checkSubmitted(t, p, j, workers-1)
	wait.Eventually(func() bool { return j.running.Load() == workers-1 })
	const quick = 3 * queue
	var ran atomic.Int64
	for i := range quick {
		taken := submitSoon(t, p, "pool.submit_blocks", func() { ran.Add(1) })
		if !taken || !wait.Eventually(func() bool { return ran.Load() == int64(i+1) }) {
			probe.Fatalf(t, "pool.stuck", "quick task %d does not run although only %d of %d workers are busy.", i+1, workers-1, workers)
		}
	}
}

func TestReview_PoolsShareNothing(t *testing.T) {
	a := pool.New(pool.Config{Workers: workers, Queue: queue})
	b := pool.New(pool.Config{Workers: workers, Queue: queue})
	j := newJobs(t)
	j.fill(a)
	k := newJobs(t)
	checkWidth(t, b, k, "pool.shared", "while another pool is full")
	shutdown(context.Background(), b).wait(t, "pool.shared", "its tasks could run, and another pool is full")
	j.open()
	if !wait.Eventually(func() bool { return j.ended.Load() == j.accepted }) {
		probe.Fatalf(t, "pool.shared", "%d of %d tasks of one pool have run after another was shut down.", j.ended.Load(), j.accepted)
	}
	if !submitSoon(t, a, "pool.shared", func() {}) {
		probe.Errorf(t, "pool.shared", "a pool refuses tasks after another was shut down.")
	}
}

func TestReview_FiguresBelowOneCountAsOne(t *testing.T) {
	for _, cfg := range []pool.Config{{}, {Workers: -3, Queue: -1}} {
		situation := fmt.Sprintf("with %d workers and a queue of %d", cfg.Workers, cfg.Queue)
		var p *pool.Pool
		call("New", func() error { p = pool.New(cfg); return nil }).wait(t, "pool.config", "it was called %s", situation)
		j := newJobs(t)
		if !wait.Eventually(func() bool { return j.submit(p) == nil }) {
			probe.Fatalf(t, "pool.config", "a pool %s takes no task: a figure below 1 counts as 1.", situation)
		}
		j.fill(p)
		j.open()
		if !wait.Eventually(func() bool { return j.ended.Load() == j.accepted }) {
			probe.Fatalf(t, "pool.config", "a pool %s has run %d of %d accepted tasks.", situation, j.ended.Load(), j.accepted)
		}
		if peak := j.peak.Load(); peak != 1 || j.accepted > 3 {
			probe.Fatalf(t, "pool.config", "a pool %s took %d tasks and ran %d at once: a figure below 1 counts as 1.", situation, j.accepted, peak)
		}
		checkShutdown(t, p, situation)
	}
}

// checkSubmitted hands n tasks to a pool that has room for them.
func checkSubmitted(t *testing.T, p *pool.Pool, j *jobs, n int) {
	t.Helper()
	for range n {
		if err := j.submit(p); err != nil {
			probe.Fatalf(t, "pool.refused", "Submit refused task %d of %d with %q: a queue of %d takes more.", j.offered, n, err, queue)
		}
	}
}

// checkShutdown shuts down a pool whose tasks can all run.
func checkShutdown(t *testing.T, p *pool.Pool, situation string) {
	t.Helper()
	r := shutdown(context.Background(), p).wait(t, "pool.hang", "%s", situation)
	if r.err != nil {
		probe.Errorf(t, "pool.shutdown_error", "Shutdown returned %q although its context has no end; %s.", r.err, situation)
	}
}

// submitSoon offers f until the pool takes it, and reports whether it did. A
// pool may give a task's place back a moment after the task has ended.
func submitSoon(t *testing.T, p *pool.Pool, code string, f func()) bool {
	t.Helper()
	return wait.Eventually(func() bool {
		return call("Submit", func() error { return p.Submit(f) }).wait(t, code, "the pool has room").err == nil
	})
}

// submitClosing offers a task while the pool closes.
func submitClosing(t *testing.T, p *pool.Pool, j *jobs) error {
	t.Helper()
	r := call("Submit", func() error { return p.Submit(j.task) }).wait(t, "pool.deadlock", "Shutdown was waiting for %d tasks", j.accepted-j.ended.Load())
	if r.err == nil {
		j.accepted++
	}
	return r.err
}

// untilClosed offers tasks until Submit says that the pool is closed.
func untilClosed(t *testing.T, p *pool.Pool, j *jobs) {
	t.Helper()
	var err error
	if !wait.Eventually(func() bool {
		err = submitClosing(t, p, j)
		return errors.Is(err, pool.ErrClosed)
	}) {
		probe.Fatalf(t, "pool.closed", "Submit gives %v, not ErrClosed, %v after Shutdown was called.", err, wait.Limit())
	}
}

const panicking = 3 * workers

// outcome is what a pool made of tasks that panic.
type outcome struct {
	Reports, Distinct, Stacks, Width int
	Drained                          bool
}

// panics is a program of its own, since a pool that lets a panic through ends
// the process it runs in.
func panics() int {
	for _, hook := range []string{"with OnPanic", "without OnPanic"} {
		o := panicOutcome(hook == "with OnPanic")
		b, err := json.Marshal(o)
		if err != nil {
			return 1
		}
		fmt.Fprintf(os.Stdout, "\n%s %s\n", hook, b)
	}
	return 0
}

func panicOutcome(hook bool) (o outcome) {
	var mu sync.Mutex
	var values []any
	var stacks [][]byte
	cfg := pool.Config{Workers: workers, Queue: queue}
	if hook {
		cfg.OnPanic = func(v any, stack []byte) {
			mu.Lock()
			defer mu.Unlock()
			values, stacks = append(values, v), append(stacks, stack)
		}
	}
	p := pool.New(cfg)
	var begun atomic.Int64
	for i := range panicking {
		taken := wait.Eventually(func() bool {
			return p.Submit(func() {
				begun.Add(1)
				unload(i)
			}) == nil
		})
		if !taken || !wait.Eventually(func() bool { return begun.Load() >= int64(i+1) }) {
			break // the workers have gone
		}
	}

	gate := make(chan struct{})
	var running atomic.Int64
	for range workers {
		if !wait.Eventually(func() bool {
			return p.Submit(func() {
				running.Add(1)
				<-gate
			}) == nil
		}) {
			break
		}
	}
	wait.Eventually(func() bool { return running.Load() == workers })
	o.Width = int(running.Load())
	close(gate)
	ctx, cancel := context.WithTimeout(context.Background(), wait.Limit())
	defer cancel()
	select {
	case r := <-shutdown(ctx, p).done:
		o.Drained = r.err == nil && r.panicked == nil
	case <-time.After(2 * wait.Limit()):
	}

	if hook {
		wait.Eventually(func() bool { mu.Lock(); defer mu.Unlock(); return len(values) >= panicking })
	}
	mu.Lock()
	defer mu.Unlock()
	o.Reports = len(values)
	seen := map[string]int{}
	for i, v := range values {
		times := 1
		if _, ok := v.(runtime.Error); ok {
			times = panicking / 4 // unload comes to each of its cases so often
		}
		if s := fmt.Sprint(v); known(v) && seen[s] < times {
			seen[s]++
			o.Distinct++
		}
		if strings.Contains(string(stacks[i]), "unload") {
			o.Stacks++
		}
	}
	return o
}

type parcelError int

func (e parcelError) Error() string { return fmt.Sprintf("parcel %d has no depot", int(e)) }

// unload panics, each time in another way.
//
//go:noinline
func unload(i int) {
	switch i % 4 {
	case 0:
		panic(fmt.Sprintf("parcel %d is lost", i))
	case 1:
		panic(parcelError(i))
	case 2:
		var depots map[string]int
		depots["AMS"]++
	default:
		panic(nil)
	}
}

// known reports whether v is one of the values that unload panics with.
func known(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.HasSuffix(v, " is lost")
	case parcelError, runtime.Error: // *runtime.PanicNilError is one too
		return true
	}
	return false
}
