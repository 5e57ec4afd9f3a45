//go:build review

package dispatchd_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pitstop/checker/probe"
	dispatchd "pitstop/lessons/24_capstone"
	"pitstop/lessons/24_capstone/world"
	"pitstop/lessons/dispatch"
)

// draining starts a service, has it told to stop while a request is under
// way, and returns in the middle of its drain. Finish ends the request.
func draining(t *testing.T, env ...string) (s *service, finish func()) {
	t.Helper()
	s = start(t, append([]string{"DRAIN=5s", "BUDGET=20s"}, env...)...)
	s.world.Set("position", hang)
	answered := make(chan reply, 1)
	go func() { answered <- s.get("/couriers/c-1") }()
	require.True(t, probe.Poll(limit, func() bool { return s.world.Count("position").Now == 1 }), "a request is under way")
	require.NoError(t, s.Signal(syscall.SIGTERM))
	require.True(t, ask(limit, func() bool { return s.get("/health/ready").code == 503 }), "readiness turns")
	return s, func() {
		s.world.Set("position", world.Fault{})
		<-answered
	}
}

func scan(addr, line string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(c, line); err != nil {
		return "", err
	}
	got, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(got), err
}

func TestReview_DoorsInTheDrain(t *testing.T) {
	t.Parallel()
	s, finish := draining(t)
	got, err := scan(s.scan, "t1 parcel-9")
	if got != "t1 ok depot 4" {
		probe.Errorf(t, "wiring.scanners", "after SIGTERM, while new connections still arrive, a hand scanner that connects gets %q (%v), and not its answer.", got, err)
	}
	if r := s.call(t.Context(), "GET", s.ops+"/health/status", nil); r.code != 200 {
		probe.Errorf(t, "wiring.blind", "while dispatchd shuts down, its operators' port answers %d (%v): just when one wants to look.", r.code, r.err)
	}
	if r := s.post("/events", dispatch.Event{ID: "late", Order: "o-1", Kind: "delivered"}); r.code != 202 {
		probe.Errorf(t, "wiring.drain", "during the drain new requests still arrive, and POST /events answers %d.", r.code)
	}
	if r := s.post("/routes", order(1)); r.code != 201 {
		probe.Errorf(t, "wiring.drain", "during the drain new requests still arrive, and POST /routes answers %d.", r.code)
	}
	s.call(t.Context(), "PUT", s.ops+"/settings", dispatchd.DepotSettings{Notice: "snow at gate 4"})
	if !probe.Poll(patience, func() bool { return strings.Contains(string(s.world.Kept("depot")["depot_3"]), "snow") }) {
		probe.Errorf(t, "wiring.drain", "during the drain new settings were sent, and no depot was told.")
	}
	finish()
}

func TestReview_WorkLeftInThePool(t *testing.T) {
	t.Parallel()
	s := start(t, "DRAIN=0s")
	s.world.Set("notify", hang)
	s.planned()
	n := int(3 * s.plan.workers)
	require.Equal(t, n, with(each(n, func(i int) reply { return s.post("/routes", order(i)) }), 201), "routes planned")
	s.onceRefused("notify", 200*time.Millisecond)
	status, _ := s.stop()
	if told := len(s.world.Kept("told")); !probe.Equal(t, "tasks of answered requests that ran", told, n, "tasks") {
		probe.Errorf(t, "wiring.tasks", "%d routes were planned before SIGTERM, and %d couriers were told.", n, told)
	}
	if status != 0 {
		probe.Errorf(t, "wiring.status", "a shutdown that left nothing undone ended with exit status %d.", status)
	}
}

func TestReview_PortTaken(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"SCAN_ADDR", "HTTP_ADDR", "OPS_ADDR", "ADMIN_ADDR"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close()
		s := launch(t, "ENABLE_PPROF=true", name+"="+ln.Addr().String())
		ctx, cancel := context.WithTimeout(t.Context(), limit/2)
		defer cancel()
		status, err := s.Wait(ctx)
		switch {
		case err != nil:
			probe.Errorf(t, "wiring.half", "%s is taken, and dispatchd runs on without that port.", name)
		case status == 0 || !strings.Contains(s.Output(), "address already in use"):
			probe.Errorf(t, "wiring.half", "%s is taken, and dispatchd ended with status %d without saying why.", name, status)
		}
	}
}

func TestReview_MemoryLimit(t *testing.T) {
	t.Parallel()
	s := start(t, container(t, 128<<20))
	s.planned()
	if got := s.held(false).MemoryLimit; !probe.Equal(t, "the runtime's memory limit", got, s.plan.limit, "bytes") {
		probe.Errorf(t, "wiring.limit", "the plan for a container of 128 MiB has a limit of %s, and the runtime works with %s.", probe.Bytes(s.plan.limit), probe.Bytes(got))
	}
	s = start(t, container(t, 128<<20), "GOMEMLIMIT=64MiB")
	if got := s.held(false).MemoryLimit; got != 64<<20 {
		probe.Errorf(t, "wiring.limit", "the operator set GOMEMLIMIT=64MiB, and the runtime works with %s.", probe.Bytes(got))
	}
}

func TestReview_SecondSignal(t *testing.T) {
	t.Parallel()
	s := start(t, "DRAIN=0s", "BUDGET=60s")
	s.world.Set("position", hang)
	go s.get("/couriers/c-1")
	require.True(t, probe.Poll(limit, func() bool { return s.world.Count("position").Now == 1 }), "a request is under way")
	require.NoError(t, s.Signal(syscall.SIGTERM))
	require.True(t, s.refused(s.http), "the port closes")
	// Whoever presses Ctrl-C does it more than once: a signal that comes in the
	// moment in which handlers change may be lost.
	more := 0
	for range 20 {
		_ = s.Signal(syscall.SIGTERM)
		more++
		if probe.Poll(limit/40, func() bool { return !s.Running() }) {
			break
		}
	}
	if s.Running() {
		probe.Errorf(t, "wiring.deaf", "a request hangs at shutdown, somebody sends %d more SIGTERMs in %v, and dispatchd does not end by them.", more, limit/2)
		return
	}
	if status, err := s.Wait(t.Context()); err != nil || status == 0 {
		probe.Errorf(t, "wiring.status", "a second signal cut a request off, and the exit status is %d (%v).", status, err)
	}
}

// A request that began in time may end after the drain.
func TestReview_LateBody(t *testing.T) {
	t.Parallel()
	s := start(t)
	body := `{"id":"late","order":"o-1","kind":"delivered"}`
	c, err := net.Dial("tcp", strings.TrimPrefix(s.http, "http://"))
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(limit)))
	_, err = fmt.Fprintf(c, "POST /events HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body))
	require.NoError(t, err)
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "100", "the handler reads the body")
	require.NoError(t, s.Signal(syscall.SIGTERM))
	require.True(t, s.refused(s.http), "the port closes")
	time.Sleep(time.Second / 2) // what ends with the drain has ended by now, on a busy machine too
	_, err = fmt.Fprint(c, body)
	require.NoError(t, err)
	status := ""
	for err == nil && !strings.HasPrefix(status, "HTTP/1.1 2") && !strings.HasPrefix(status, "HTTP/1.1 5") {
		status, err = in.ReadString('\n')
	}
	stored := probe.Poll(limit/2, func() bool { return s.world.Kept("notice")["late"] != nil || !s.Running() }) && s.world.Kept("notice")["late"] != nil
	if !strings.Contains(status, "202") || !stored {
		probe.Errorf(t, "wiring.late", "an event whose request began before SIGTERM and ended after the drain got %q (%v), and its notice was stored: %t.", strings.TrimSpace(status), err, stored)
	}
}

// The budget is there to be used: what takes seven seconds has them.
func TestReview_RoomInTheBudget(t *testing.T) {
	t.Parallel()
	s := start(t, "BUDGET=18s")
	s.world.Set("notice", hang)
	const n = 24
	require.Equal(t, n, with(each(n, func(i int) reply {
		return s.post("/events", dispatch.Event{ID: fmt.Sprintf("e-%d", i), Order: "o-1", Kind: "delivered"})
	}), 202), "events taken")
	s.onceRefused("notice", 300*time.Millisecond)
	status, _ := s.stop()
	if lost := n - len(s.world.Kept("notice")); lost > 0 || status != 0 {
		probe.Errorf(t, "wiring.hasty", "%d events take seven seconds to store, the budget is 18 s, and %d of them were dropped at shutdown (status %d).", n, lost, status)
	}
}

// One thing hangs, all else is well: what the budget cuts off is told, whatever it is.
func TestReview_CutOffIsTold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		hangs, what string
		leave       func(s *service) reply
		code        int
	}{
		{"notice", "an event that was answered with 202", func(s *service) reply {
			return s.post("/events", dispatch.Event{ID: "e-1", Order: "o-1", Kind: "delivered"})
		}, 202},
		{"notify", "a task of a request that was answered", func(s *service) reply { return s.post("/routes", order(1)) }, 201},
		{"traces", "the traces of a request", func(s *service) reply { return s.post("/routes", order(1)) }, 201},
	} {
		t.Run(c.hangs, func(t *testing.T) {
			t.Parallel()
			s := start(t, "BUDGET=2s", "OTEL_BSP_SCHEDULE_DELAY=60000")
			s.world.Set(c.hangs, hang)
			require.Equal(t, c.code, c.leave(s).code, "answered")
			if status, _ := s.stop(); status == 0 {
				probe.Errorf(t, "wiring.status", "the end of the budget cut off %s, and the exit status is 0.", c.what)
			}
		})
	}
}

func TestReview_ReportCutOff(t *testing.T) {
	t.Parallel()
	s := start(t, "BUDGET=2s")
	s.world.Set("delivered", hang)
	cut := make(chan reply, 1)
	go func() { cut <- s.call(t.Context(), "GET", s.ops+"/report", nil) }()
	require.True(t, probe.Poll(limit, func() bool { return s.world.Count("delivered").Now == 1 }), "a report is under way")
	status, _ := s.stop()
	if r := <-cut; status == 0 && r.err != nil {
		probe.Errorf(t, "wiring.status", "the end of the budget cut off a report on the operators' port, and the exit status is 0.")
	}
}

// Too many open files: depots' port tries again, as net/http does, and the
// scanners' port is at an end. Whatever the service does then, events that
// were answered with 202 are in its hands.
func TestReview_ScannersPortBreaks(t *testing.T) {
	t.Parallel()
	s := launchAs(t, "dispatchd, 96 files", "DRAIN=0s").ready()
	s.world.Set("notice", hang)
	const n = 24
	require.Equal(t, n, with(each(n, func(i int) reply {
		return s.post("/events", dispatch.Event{ID: fmt.Sprintf("e-%d", i), Order: "o-1", Kind: "delivered"})
	}), 202), "events taken")
	s.client.CloseIdleConnections()

	var scanners []net.Conn
	hangUp := func() {
		for _, c := range scanners {
			c.Close()
		}
	}
	defer hangUp()
	for len(scanners) < 120 {
		c, err := net.DialTimeout("tcp", s.scan, limit)
		if err != nil {
			break // it is closed already
		}
		scanners = append(scanners, c)
	}
	broken := ask(limit/4, func() bool {
		c, err := net.DialTimeout("tcp", s.scan, time.Second)
		if err == nil {
			c.Close()
		}
		return err != nil || !s.Running()
	})
	hangUp()
	// One service ends for it, another runs on without scanners until it is told to end.
	ends := broken && ask(limit/4, func() bool {
		c, err := net.DialTimeout("tcp", strings.TrimPrefix(s.http, "http://"), time.Second)
		if err == nil {
			c.Close()
		}
		return err != nil || !s.Running()
	})
	if !ends {
		_ = s.Signal(syscall.SIGTERM)
	}
	s.world.Set("notice", world.Fault{Delay: 20 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if _, err := s.Wait(ctx); err != nil {
		probe.Fatalf(t, "wiring.budget", "the scanners' port broke (too many open files), and dispatchd was still running %v after it was told to end.", limit)
	}
	if lost := n - len(s.world.Kept("notice")); !probe.AtMost(t, "events lost when the scanners' port breaks", lost, 0, "events") {
		probe.Errorf(t, "wiring.broken", "the scanners' port broke (too many open files) while %d events waited that had been answered with 202; %d of them never became a notice.", n, lost)
	}
}
