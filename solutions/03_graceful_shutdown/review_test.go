//go:build review

package lifecycle_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pitstop/checker/probe"
	lifecycle "pitstop/lessons/03_graceful_shutdown"
)

// What the load balancer sees. The drain lasts longer than the test, so that
// nothing here hangs on the clock; the process is killed in the end.
func TestReview_Drain(t *testing.T) {
	for name, env := range map[string]string{"signal": "CANCEL=", "context ends": "CANCEL=1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t)
			d := start(t, g, "DRAIN=30s", "BUDGET=60s", env)
			if r := ask(d.addr, "GET", lifecycle.ReadyPath); r.body != readyBody {
				probe.Errorf(t, "readiness.masked", "Before shutdown, GET %s answered %q; want cfg.Handler's own answer %q.", lifecycle.ReadyPath, r.body, readyBody)
			}
			idle, err := net.Dial("tcp", d.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer idle.Close()
			if r := exchange(idle, "POST", "/quick/1"); r.err != nil || r.status != http.StatusOK || r.closes {
				probe.Fatalf(t, "serve.dead", "Before shutdown, an order got status %d (%v), connection closed: %t; want 200 and a connection to use again.", r.status, r.err, r.closes)
			}

			if env == "CANCEL=1" {
				g.wait(t, "cancel").release()
			} else {
				d.Signal(syscall.SIGTERM)
			}
			began, polls := time.Now(), 0
			for deadline := began.Add(patience / 2); ; time.Sleep(5 * time.Millisecond) {
				r := ask(d.addr, "GET", lifecycle.ReadyPath)
				if r.err != nil {
					probe.Fatalf(t, "listener.early", "The drain is 30s; %v into the shutdown a new connection failed (%v) before %s had answered 503 once.", time.Since(began).Round(time.Millisecond), r.err, lifecycle.ReadyPath)
				}
				if r.status == http.StatusServiceUnavailable {
					break
				}
				if polls++; time.Now().After(deadline) {
					probe.Fatalf(t, "readiness.late", "The drain is 30s; in its first %v %s answered %d times, never with 503.", patience/2, lifecycle.ReadyPath, polls)
				}
			}
			probe.Note(t, "from the order to stop until readiness says 503", time.Since(began).Milliseconds(), "ms")

			const n = 5
			served, kept, first := 0, 0, ""
			for i := range n {
				r := ask(d.addr, "POST", fmt.Sprintf("/quick/%d", i))
				if r.err == nil && r.status == http.StatusOK && r.body == "accepted" {
					served++
					if !r.closes {
						kept++
					}
				} else if first == "" {
					first = fmt.Sprintf("status %d and %q, %v", r.status, r.body, r.err)
				}
			}
			if !probe.AtLeast(t, "new connections served while draining", served, n, "of 5") {
				probe.Errorf(t, "listener.early", "Readiness said 503 and 30s of drain had begun; of %d orders on new connections %d were served, the others got: %s.", n, served, first)
				return
			}
			if !probe.AtMost(t, "answers while draining that keep the connection", kept, 0, "answers") {
				probe.Errorf(t, "keepalive.kept", "While draining, %d of %d answers came without Connection: close, so the client sends its next order here too.", kept, n)
			}
			if r := exchange(idle, "POST", "/quick/2"); r.err != nil || r.status != http.StatusOK {
				probe.Errorf(t, "keepalive.dropped", "An order on a connection that was open and idle when the drain began got status %d, %v; want 200: it may have been on its way.", r.status, r.err)
			}
		})
	}
}

func TestReview_Order(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	d := start(t, g, "DRAIN=50ms", "BUDGET=20s", "LEAKS=1")
	order := d.send("POST", "/whole/1")
	held := g.wait(t, "order 1")
	d.Signal(syscall.SIGTERM)
	inFlight(t, d, order, held)
	status, ended := d.endsWithin(patience)
	if !ended {
		probe.Fatalf(t, "shutdown.late", "Every order was done, and %v later the process still ran.", patience)
	}
	if status != 0 {
		probe.Errorf(t, "shutdown.status", "Nothing was left undone, and the process ended with status %d; want 0.", status)
	}
	poolOnce(t, d, "SIGTERM")
	noneLeft(t, d, "a shutdown by SIGTERM")
}

func TestReview_ContextEnds(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	d := start(t, g, "DRAIN=50ms", "BUDGET=20s", "CANCEL=1", "LEAKS=1", "LINGER=1")
	order := d.send("POST", "/whole/1")
	held := g.wait(t, "order 1")
	g.wait(t, "cancel").release()
	inFlight(t, d, order, held)
	if end := returned(t, d, "shutdown.late"); strings.Contains(end, "failed=true") {
		probe.Errorf(t, "context.error", "The context ended, nothing was left undone, and Run returned an error; want nil: %s.", end)
	}
	poolOnce(t, d, "the end of the context")
	g.wait(t, "end")
	noneLeft(t, d, "a shutdown by context")

	d.Signal(syscall.SIGTERM)
	if _, ended := d.endsWithin(2 * time.Second); !ended {
		probe.Errorf(t, "signal.kept", "Run had returned, and SIGTERM no longer ended the process: Run still catches signals that nobody reads.")
	}
}

func TestReview_SignalsOfTheCaller(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	d := start(t, g, "DRAIN=0s", "BUDGET=20s", "CANCEL=1", "LINGER=1", "HEARS=1")
	g.wait(t, "cancel").release()
	returned(t, d, "shutdown.late")
	g.wait(t, "end")
	d.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := d.Line(ctx, "heard "); err != nil {
		probe.Errorf(t, "signal.kept", "The program listened for SIGTERM before it called Run, and after Run it hears it no more (%v): Run may take back its own handlers only.", err)
	}
}

// inFlight holds an order over the close of the listener and lets it go.
func inFlight(t *testing.T, d *daemon, order <-chan reply, held *visit) {
	t.Helper()
	d.untilClosed(t)
	// The order is still being worked on this long after.
	d.endsWithin(400 * time.Millisecond)
	if d.count("cancelled order") > 0 {
		probe.Fatalf(t, "request.cancelled", "The context of an order in flight was cancelled by the shutdown, with all but a moment of its 20s budget left.")
	}
	if d.count("pool shutdown") > 0 {
		probe.Fatalf(t, "pool.early", "The pool was shut down while an order was in flight; the order's task would be refused.")
	}
	held.release()
	select {
	case r := <-order:
		if r.err != nil || r.status != http.StatusOK {
			probe.Fatalf(t, "shutdown.cut", "The order in flight got status %d %q, %v; want 200.", r.status, strings.TrimSpace(r.body), r.err)
		}
	case <-time.After(patience):
		probe.Fatalf(t, "shutdown.cut", "The order in flight got no answer within %v of its end.", patience)
	}
}

func TestReview_OrderHangs(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	d := start(t, g, "DRAIN=50ms", "BUDGET=300ms", "LINGER=1")
	order := d.send("POST", "/held/1")
	g.wait(t, "order 1")
	d.Signal(syscall.SIGTERM)
	end := returned(t, d, "shutdown.budget")
	select {
	case <-order:
	case <-time.After(2 * time.Second):
		probe.Errorf(t, "hung.open", "An order hung beyond the budget; 2s after Run had returned its connection was still open, so the client waits for an answer that cannot come.")
	}
	logged := d.count("level=WARN") + d.count("level=ERROR")
	if !probe.AtLeast(t, "warnings or errors logged about a hung order", logged, 1, "lines") {
		probe.Errorf(t, "hung.log", "An order was cut off at the end of the budget, and cfg.Logger got no line at level WARN or ERROR.")
	}
	poolOnce(t, d, "an order that hangs")
	g.wait(t, "end").release()
	status, ended := d.endsWithin(patience)
	if !ended || status == 0 || !strings.Contains(end, "failed=true") {
		probe.Errorf(t, "hung.status", "An order was cut off at the end of the budget, and Run returned nil: the process ends with status %d as if all went well.", status)
	} else if !strings.Contains(end, "deadline=true") {
		probe.Errorf(t, "hung.error", "An order was cut off at the end of the budget; the error of Run does not wrap context.DeadlineExceeded: %s.", end)
	}
}

// The drain has 800 of 1600 ms, so the pool cannot have more than 800.
func TestReview_OneBudget(t *testing.T) {
	t.Parallel()
	d := start(t, newGate(t), "DRAIN=800ms", "BUDGET=1600ms", "POOL=slow")
	began := time.Now()
	d.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	text, err := d.Line(ctx, "pool budget ")
	if err != nil {
		probe.Fatalf(t, "pool.forgotten", "The pool was not shut down, or not waited for: %v.", err)
	}
	if text == "none" {
		probe.Fatalf(t, "pool.unbounded", "The pool's Shutdown got a context that had no deadline and did not end within 4s; the budget was 1.6s.")
	}
	budget, _ := strconv.Atoi(text)
	if took := time.Since(began); took < 800*time.Millisecond {
		probe.Fatalf(t, "listener.early", "The drain is 800ms; %v after SIGTERM the server was closed already and the pool being shut down.", took.Round(time.Millisecond))
	}
	if !probe.AtMost(t, "time the pool is given, of a budget of 1600 ms with 800 ms of drain", budget, poolLimit.Milliseconds(), "ms") {
		probe.Errorf(t, "budget.anew", "The drain took 800 of a budget of 1600 ms, and the pool was given %d ms more: the steps add up to more than the whole.", budget)
	}
	status, ended := d.endsWithin(patience)
	if !ended {
		probe.Fatalf(t, "shutdown.budget", "The budget was 1.6s, and the process ran on for seconds.")
	}
	if status == 0 || d.count("returned failed=false") > 0 {
		probe.Errorf(t, "pool.error", "The pool said that tasks were left undone, and Run returned nil.")
	} else if d.count("returned failed=true deadline=true") == 0 {
		probe.Errorf(t, "pool.error", "The end of the budget cut tasks off, and the error of Run does not wrap context.DeadlineExceeded.")
	}
}

func TestReview_BudgetEndsTheDrain(t *testing.T) {
	t.Parallel()
	d := start(t, newGate(t), "DRAIN=30s", "BUDGET=200ms")
	d.Signal(syscall.SIGTERM)
	if _, ended := d.endsWithin(patience); !ended {
		probe.Errorf(t, "shutdown.budget", "The budget was 200ms, the drain 30s, and %v after SIGTERM the process still ran: the budget does not bound the drain.", patience)
	}
}

// A second signal, whatever the shutdown is at.
func TestReview_SecondSignal(t *testing.T) {
	for _, c := range []struct {
		during        string
		env           []string
		first, second os.Signal
		path          string
		reached       func(t *testing.T, d *daemon, g *gate, held *visit)
	}{
		{"the drain", []string{"DRAIN=30s", "BUDGET=60s"}, syscall.SIGTERM, syscall.SIGINT, "/held/1",
			func(t *testing.T, d *daemon, g *gate, held *visit) {
				// TestReview_Drain is the one to say if readiness never turns.
				for deadline := time.Now().Add(patience / 2); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
					if r := ask(d.addr, "GET", lifecycle.ReadyPath); r.err != nil || r.status == http.StatusServiceUnavailable {
						return
					}
				}
			}},
		{"the wait for orders", []string{"DRAIN=10ms", "BUDGET=60s"}, syscall.SIGINT, syscall.SIGTERM, "/held/1",
			func(t *testing.T, d *daemon, g *gate, held *visit) { d.untilClosed(t) }},
		{"the pool", []string{"DRAIN=10ms", "BUDGET=60s", "POOL=held"}, syscall.SIGTERM, syscall.SIGTERM, "/held/1",
			func(t *testing.T, d *daemon, g *gate, held *visit) { held.release(); g.wait(t, "pool") }},
	} {
		t.Run("during "+c.during, func(t *testing.T) {
			t.Parallel()
			g := newGate(t)
			d := start(t, g, c.env...)
			d.send("POST", c.path)
			held := g.wait(t, "order 1")
			d.Signal(c.first)
			c.reached(t, d, g, held)
			// Sent again where the first has no effect: it may have come between
			// the moment that the shutdown shows and the one that it listens.
			status, ended := 0, false
			for _, wait := range []time.Duration{patience / 4, patience / 2} {
				d.Signal(c.second)
				if status, ended = d.endsWithin(wait); ended {
					break
				}
			}
			if !ended {
				probe.Fatalf(t, "signal.second", "During %s another %v came, twice, and the process ran on for seconds; its budget is 60s.", c.during, c.second)
			}
			if status == 0 {
				probe.Errorf(t, "signal.second", "Another %v cut off %s, and the process ended with status 0 as if nothing was left undone.", c.second, c.during)
			}
		})
	}
}

func TestReview_AddressTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	d := &daemon{Process: launch(t, newGate(t), "ADDR="+taken.Addr().String(), "BUDGET=1s", "LEAKS=1")}
	fails(t, d, "listen", "The address was taken", "a taken address")
}

func TestReview_ServerBreaks(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	d := &daemon{Process: launch(t, g, "BROKEN=1", "DRAIN=10ms", "BUDGET=1s", "LEAKS=1")}
	g.wait(t, "accept").release()
	fails(t, d, "serve", "The listener broke", "a broken listener")
	if d.count("returned") > 0 && !strings.Contains(d.Output(), "broken=true") {
		probe.Errorf(t, "serve.lost", "The listener broke, and the error that Run returned does not wrap the listener's.")
	}
}

// fails checks that Run hands the error to its caller, and nobody else ends
// the process.
func fails(t *testing.T, d *daemon, code, what, cause string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	end, err := d.Line(ctx, "returned ")
	if err != nil {
		if !d.Running() {
			status, _ := d.endsWithin(0)
			probe.Fatalf(t, code+".fatal", "%s, and the process ended with status %d inside Run: the caller saw no error, and nothing deferred ran.", what, status)
		}
		probe.Fatalf(t, code+".hang", "%s, and %v later Run had not returned: it waits for a signal with nothing to serve.", what, patience)
	}
	if strings.Contains(end, "failed=false") {
		probe.Fatalf(t, code+".lost", "%s, and Run returned nil.", what)
	}
	if _, ended := d.endsWithin(patience); !ended {
		t.Fatal("dispatchd did not end")
	}
	poolOnce(t, d, cause)
	noneLeft(t, d, cause)
}

// returned waits for Run to return and gives what it returned.
func returned(t *testing.T, d *daemon, code string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	end, err := d.Line(ctx, "returned ")
	if err != nil {
		probe.Fatalf(t, code, "Run had not returned %v after it was told to stop: %v.", patience, err)
	}
	return end
}

func poolOnce(t *testing.T, d *daemon, what string) {
	t.Helper()
	n := d.count("pool shutdown")
	switch {
	case probe.Equal(t, "times the pool was shut down by "+what, n, 1, ""):
	case n == 0:
		probe.Errorf(t, "pool.forgotten", "After %s Run returned without shutting the pool down.", what)
	default:
		probe.Errorf(t, "pool.twice", "After %s the pool was shut down %d times; a pool that closes a channel would have panicked.", what, n)
	}
}

// noneLeft reads what dispatchd counted after Run.
func noneLeft(t *testing.T, d *daemon, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	text, err := d.Line(ctx, "leaked ")
	if err != nil {
		t.Fatalf("dispatchd: %v", err)
	}
	count, where, _ := strings.Cut(text, " ")
	n, _ := strconv.Atoi(count)
	if !probe.AtMost(t, "goroutines left by "+what, n, 0, "goroutines") {
		probe.Errorf(t, "leak.goroutine", "After %s Run had returned, and %s of its goroutines stayed: %s.", what, count, where)
	}
}
