package lifecycle_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pitstop/checker/probe"
	lifecycle "pitstop/lessons/03_graceful_shutdown"
)

// patience is how long a test waits for what must happen before it says that
// it has not. Only a failure ever takes so long.
const patience = 5 * time.Second

func TestRun_FinishesOrdersInFlight(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	d := start(t, g, "DRAIN=100ms", "BUDGET=5s")

	const n = 3
	var orders []<-chan reply
	var held []*visit
	for i := range n {
		orders = append(orders, d.send("POST", fmt.Sprintf("/held/%d", i)))
		held = append(held, g.wait(t, fmt.Sprintf("order %d", i)))
	}
	began := time.Now()
	d.Signal(syscall.SIGTERM)
	d.untilClosed(t)

	// The orders take their time: this long after the listener has closed
	// they are still being worked on.
	d.endsWithin(400 * time.Millisecond)
	answered, first := 0, error(nil)
	for i, order := range orders {
		held[i].release()
		select {
		case r := <-order:
			if r.err == nil && r.status == http.StatusOK {
				answered++
			} else if r.err == nil {
				first = fmt.Errorf("status %d", r.status)
			} else if first == nil {
				first = r.err
			}
		case <-time.After(patience):
			first = fmt.Errorf("no answer within %v", patience)
		}
	}
	status, ended := d.endsWithin(max(0, 5*time.Second-time.Since(began)))
	took := time.Since(began).Round(time.Millisecond)
	if !probe.AtLeast(t, "orders in flight that were answered", answered, n, "orders") {
		probe.Errorf(t, "shutdown.cut",
			"%d orders were being worked on when SIGTERM came, and %d were answered; the others got: %v.", n, answered, first)
	}
	if !ended {
		probe.Fatalf(t, "shutdown.budget", "The budget was 5s; %v after SIGTERM, with every order done, the process still ran.", took)
	}
	if !probe.Equal(t, "exit status", status, 0, "") {
		probe.Errorf(t, "shutdown.status", "The process ended with status %d, %v after SIGTERM; want 0 where nothing was left undone.", status, took)
	}
}

func TestRun_EndsWhenIdle(t *testing.T) {
	t.Parallel()
	d := start(t, newGate(t), "DRAIN=10ms", "BUDGET=5s")
	d.Signal(syscall.SIGINT)
	status, ended := d.endsWithin(patience)
	if !ended {
		probe.Fatalf(t, "shutdown.budget", "The budget was 5s, nothing was going on, and 5s after SIGINT the process still ran.")
	}
	if !probe.Equal(t, "exit status when idle", status, 0, "") {
		probe.Fatalf(t, "shutdown.status", "An idle process ended with status %d after SIGINT; want 0.", status)
	}
	if !probe.AtLeast(t, "times the pool was shut down", d.count("pool shutdown"), 1, "") {
		probe.Errorf(t, "pool.forgotten", "The process ended without shutting the pool down.")
	}
}

func TestRun_EndsThoughAnOrderHangs(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	d := start(t, g, "DRAIN=50ms", "BUDGET=300ms")
	d.send("POST", "/held/1")
	g.wait(t, "order 1")
	d.Signal(syscall.SIGTERM)
	began := time.Now()
	_, ended := d.endsWithin(patience)
	if !probe.AtMost(t, "from SIGTERM to the end, one order hung", time.Since(began).Milliseconds(), patience.Milliseconds()-1, "ms") || !ended {
		probe.Errorf(t, "shutdown.budget", "An order hung, the budget was 300ms, and %v after SIGTERM the process still ran.", patience)
	}
}

// daemon is dispatchd in a process of its own.
type daemon struct {
	*probe.Process
	addr string
}

// start starts dispatchd and waits until it serves.
func start(t *testing.T, g *gate, env ...string) *daemon {
	t.Helper()
	d := &daemon{Process: launch(t, g, env...)}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	addr, err := d.Line(ctx, "listening ")
	if err != nil {
		t.Fatalf("dispatchd: %v", err)
	}
	d.addr = addr
	// Several times over: a server that is told to listen for signals only
	// after it serves has done so by then.
	for range 10 {
		if r := ask(d.addr, "GET", lifecycle.ReadyPath); r.err != nil || r.status != http.StatusOK {
			probe.Fatalf(t, "serve.dead", "Before any signal, GET %s gave status %d (%v); want cfg.Handler's 200.", lifecycle.ReadyPath, r.status, r.err)
		}
	}
	return d
}

// launch starts dispatchd, and reports a data race in it when the test ends.
func launch(t *testing.T, g *gate, env ...string) *probe.Process {
	t.Helper()
	var p *probe.Process
	t.Cleanup(func() {
		if p == nil {
			return
		}
		if _, report, found := strings.Cut(p.Output(), "WARNING: DATA RACE"); found {
			at := regexp.MustCompile(`[\w.]+\.go:\d+`).FindString(report)
			probe.Errorf(t, "race.data", "The race detector reports a data race in dispatchd, first seen at %s.", at)
		}
	})
	p = probe.Start(t, "dispatchd", append(env, "GATE="+g.addr)...)
	return p
}

// endsWithin waits that long for the end of the process.
func (d *daemon) endsWithin(limit time.Duration) (status int, ended bool) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if _, err := d.Wait(ctx); err != nil && d.Running() {
		return 0, false
	}
	status, _ = d.Wait(context.Background())
	return status, true
}

// count counts the lines of output that begin with prefix.
func (d *daemon) count(prefix string) int {
	n := 0
	for line := range strings.Lines(d.Output()) {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// untilClosed waits until new connections are no longer served.
func (d *daemon) untilClosed(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for ask(d.addr, "GET", lifecycle.ReadyPath).err == nil {
		if time.Now().After(deadline) {
			probe.Fatalf(t, "shutdown.ignored", "%v after shutdown was asked for, dispatchd still serves new connections.", patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// reply is what a request got. It tells whether the answer ends the connection.
type reply struct {
	status int
	body   string
	closes bool
	err    error
}

// send sends a request on a new connection and does not wait for the answer.
func (d *daemon) send(method, path string) <-chan reply {
	c := make(chan reply, 1)
	go func() { c <- ask(d.addr, method, path) }()
	return c
}

// ask sends a request on a new connection.
func ask(addr, method, path string) reply {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return reply{err: err}
	}
	defer c.Close()
	return exchange(c, method, path)
}

// exchange sends a request on c, which may serve another one afterwards.
func exchange(c net.Conn, method, path string) reply {
	c.SetDeadline(time.Now().Add(3 * patience))
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: dispatchd\r\nContent-Length: 0\r\n\r\n", method, path); err != nil {
		return reply{err: err}
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{status: resp.StatusCode, body: string(body), closes: resp.Close, err: err}
}

// gate is where dispatchd waits for leave: see hold. So a test knows what
// dispatchd is at, and decides how long.
type gate struct {
	addr    string
	arrived chan *visit
	early   []*visit // came before they were waited for

	mu   sync.Mutex
	open []net.Conn // kept: the collector closes a connection that nobody holds
}

type visit struct {
	name string
	conn net.Conn
}

func newGate(t *testing.T) *gate {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{addr: ln.Addr().String(), arrived: make(chan *visit, 64)}
	t.Cleanup(func() {
		ln.Close()
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, c := range g.open {
			c.Close()
		}
	})
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			g.mu.Lock()
			g.open = append(g.open, c)
			g.mu.Unlock()
			go func() {
				name, err := bufio.NewReader(c).ReadString('\n')
				if err == nil {
					g.arrived <- &visit{strings.TrimSpace(name), c}
				}
			}()
		}
	}()
	return g
}

// wait waits until dispatchd has come to name.
func (g *gate) wait(t *testing.T, name string) *visit {
	t.Helper()
	for i, v := range g.early {
		if v.name == name {
			g.early = append(g.early[:i], g.early[i+1:]...)
			return v
		}
	}
	late := time.After(patience)
	for {
		select {
		case v := <-g.arrived:
			if v.name == name {
				return v
			}
			g.early = append(g.early, v)
		case <-late:
			probe.Fatalf(t, "serve.dead", "dispatchd has not come to %q within %v.", name, patience)
		}
	}
}

// release lets dispatchd go on.
func (v *visit) release() {
	fmt.Fprintln(v.conn, "go")
	v.conn.Close()
}
