package geo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pitstop/checker/probe"
	geo "pitstop/lessons/17_static_analysis"
)

// patience is how long a call may take that has nothing to wait for: it is
// only ever used up by one that hangs.
const patience = 2 * time.Second

const place = `{"lat":51.34,"lon":12.37,"zone":"L1"}`

func TestLocate_ReturnsOnlyPlacesThatTheServiceNamed(t *testing.T) {
	t.Parallel()
	madeUp := 0
	for _, c := range []struct {
		name   string
		answer answer
	}{
		{"the service answers 503 each time", status(http.StatusServiceUnavailable, "")},
		{"no connection can be made", fails(errors.New("connection refused"))},
		{"the answer is cut short", status(http.StatusOK, place[:20])},
		{"the answer is a page of HTML", status(http.StatusOK, "<html>maintenance</html>")},
	} {
		s := newService(c.answer)
		p, err := s.client(geo.Config{Attempts: 2}).Locate(t.Context(), "Kai 3")
		switch {
		case err == nil:
			madeUp++
			probe.Errorf(t, "geo.null_island", "When %s, Locate returns the place %v, %v and no error: a van would be sent there.", c.name, p.Lat, p.Lon)
		case !errors.Is(err, geo.ErrUnavailable):
			probe.Errorf(t, "geo.error", "When %s, Locate gives %q, which is not ErrUnavailable.", c.name, err)
		}
	}
	probe.AtMost(t, "places that nobody named", madeUp, 0, "places")

	s := newService(status(http.StatusOK, place))
	if p, err := s.client(geo.Config{}).Locate(t.Context(), "Kai 3"); err != nil || p != (geo.Place{Lat: 51.34, Lon: 12.37, Zone: "L1"}) {
		probe.Errorf(t, "geo.place", "The service named 51.34, 12.37 in zone L1, and Locate returned %+v, %v.", p, err)
	}
	s = newService(status(http.StatusNotFound, "no such address"))
	if _, err := s.client(geo.Config{}).Locate(t.Context(), "Kai 3"); !errors.Is(err, geo.ErrNotFound) {
		probe.Errorf(t, "geo.error", "The service answered 404, and Locate gave %v, not ErrNotFound.", err)
	}
}

func TestClient_ClosesEveryBody(t *testing.T) {
	t.Parallel()
	var all []*service
	var what []string
	for _, c := range []struct {
		code int
		text string
		call string
	}{
		{http.StatusOK, place, "Locate"}, {http.StatusOK, place[:20], "Locate"}, {http.StatusNotFound, "no", "Locate"},
		{http.StatusServiceUnavailable, "later", "Locate"}, {http.StatusOK, "ok", "Ready"},
		{http.StatusServiceUnavailable, "later", "Ready"},
	} {
		s := newService(status(c.code, c.text))
		s.call(t, c.call, geo.Config{Attempts: 2})
		all, what = append(all, s), append(what, fmt.Sprintf("%s when the service answers %d", c.call, c.code))
	}
	count := func() (opened, open int64) {
		for _, s := range all {
			opened += s.opened.Load()
			open += s.opened.Load() - s.closed.Load()
		}
		return opened, open
	}
	eventually(func() bool { _, open := count(); return open == 0 })
	opened, open := count()
	if probe.AtMost(t, fmt.Sprintf("bodies left open of %d", opened), open, 0, "bodies") {
		return
	}
	var where []string
	for i, s := range all {
		if s.opened.Load() > s.closed.Load() && !slices.Contains(where, what[i]) {
			where = append(where, what[i])
		}
	}
	probe.Errorf(t, "geo.body", "%d of %d response bodies were left open: by %s.", open, opened, strings.Join(where, ", by "))
}

func TestClient_HoldsNoConnectionPerProbe(t *testing.T) {
	t.Parallel()
	const probes = 20
	var open atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "ready")
	}))
	server.Config.ConnState = newConnState(&open)
	server.Start()
	defer server.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := geo.New(geo.Config{URL: server.URL, Transport: transport})
	for range probes {
		if err := c.Ready(t.Context()); err != nil {
			probe.Fatalf(t, "geo.ready", "Ready gives %v for a service that answers 200.", err)
		}
	}
	eventually(func() bool { return open.Load() <= 2 })
	if n := open.Load(); !probe.AtMost(t, fmt.Sprintf("connections held after %d probes", probes), n, 2, "connections") {
		probe.Errorf(t, "geo.connections", "%d connections to the service are held after %d readiness probes, one after another.", n, probes)
	}
}

func TestReady_EndsWithItsCaller(t *testing.T) {
	t.Parallel()
	s := newService(hangs)
	defer s.release()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.client(geo.Config{Timeout: time.Minute}).Ready(ctx) }()
	within(t, s.entered, "geo.ready", "Ready sent no request")
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			probe.Errorf(t, "geo.cause", "The caller of Ready left, and the error %v does not say so to errors.Is.", err)
		}
	case <-time.After(patience):
		probe.Errorf(t, "geo.context", "The caller of Ready left, and %v later Ready still waits for the service.", patience)
	}
}

func TestLocate_LetsGoOfItsTimers(t *testing.T) {
	t.Parallel()
	const calls = 10
	s := newService(fails(errors.New("connection refused")))
	c := s.client(geo.Config{Timeout: time.Hour, Attempts: 1})
	for range calls {
		_, _ = c.Locate(t.Context(), "Kai 3")
	}
	eventually(func() bool { return s.pending() == 0 })
	if n := s.pending(); !probe.AtMost(t, fmt.Sprintf("timers that run after %d failed calls", calls), n, 0, "timers") {
		probe.Errorf(t, "geo.timer", "%d of %d failed calls of Locate left a timer behind, which runs until Timeout is over.", n, calls)
	}
}

func TestStats_CanBeCountedAndPrinted(t *testing.T) {
	t.Parallel()
	s := newService(status(http.StatusOK, place))
	c := s.client(geo.Config{})
	for range 3 {
		s.locate(t, c, "Kai 3")
	}
	stats := c.Stats()
	if stats.Asked != 1 || stats.Hits != 2 || stats.Failed != 0 {
		probe.Errorf(t, "geo.stats", "One address was located 3 times, and Stats says asked %d, hits %d, failed %d, not 1, 2, 0.", stats.Asked, stats.Hits, stats.Failed)
	}
	text := make(chan string, 1)
	go func() { text <- stats.String() }()
	select {
	case got := <-text:
		if want := "asked 1, hits 2, failed 0"; got != want {
			probe.Errorf(t, "geo.stats", "String gives %q, not %q.", got, want)
		}
	case <-time.After(patience):
		probe.Errorf(t, "geo.stats_lock", "Stats().String() hangs: the copy holds a lock that nobody can unlock.")
	}
}

func TestWarm_FillsTheMemory(t *testing.T) {
	t.Parallel()
	addresses := []string{"Kai 1", "Kai 2", "Kai 3", "Kai 4", "Kai 5"}
	s := newService(slow(status(http.StatusOK, place)))
	c := s.client(geo.Config{})
	within(t, c.Warm(t.Context(), addresses), "geo.warm_end", "the channel that Warm returned was not closed")
	warmed := s.requests.Load()
	for _, a := range addresses {
		s.locate(t, c, a)
	}
	hits := c.Stats().Hits
	if !probe.Equal(t, "addresses remembered after Warm", hits, len(addresses), "addresses") {
		probe.Errorf(t, "geo.warm", "Warm was given %d addresses; when it had ended, %d requests had been sent and %d addresses were remembered.", len(addresses), warmed, hits)
	}
}

// answer is what the service does with a request.
type answer func(s *service, r *http.Request) (*http.Response, error)

// service stands in for the network, and counts.
type service struct {
	answer           answer
	requests         atomic.Int64
	opened, closed   atomic.Int64
	entered, gate    chan struct{}
	once, onceOpened sync.Once

	mu       sync.Mutex
	contexts []context.Context
}

func newService(a answer) *service {
	return &service{answer: a, entered: make(chan struct{}), gate: make(chan struct{})}
}

func (s *service) client(cfg geo.Config) *geo.Client {
	cfg.URL, cfg.Transport = "http://geo.dispatch", s
	return geo.New(cfg)
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	s.requests.Add(1)
	s.mu.Lock()
	s.contexts = append(s.contexts, r.Context())
	s.mu.Unlock()
	s.once.Do(func() { close(s.entered) })
	return s.answer(s, r)
}

func (s *service) release() { s.onceOpened.Do(func() { close(s.gate) }) }

// pending counts the requests' contexts that have a deadline and wait for it.
func (s *service) pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, ctx := range s.contexts {
		if _, bounded := ctx.Deadline(); bounded && ctx.Err() == nil {
			n++
		}
	}
	return n
}

// call makes one call whose result does not matter.
func (s *service) call(t *testing.T, name string, cfg geo.Config) {
	t.Helper()
	c := s.client(cfg)
	if name == "Ready" {
		_ = c.Ready(t.Context())
	} else {
		_, _ = c.Locate(t.Context(), "Kai 3")
	}
}

func (s *service) locate(t *testing.T, c *geo.Client, address string) {
	t.Helper()
	if _, err := c.Locate(t.Context(), address); err != nil {
		probe.Fatalf(t, "geo.place", "Locate gives %v for an address that the service knows.", err)
	}
}

func status(code int, text string) answer {
	return func(s *service, r *http.Request) (*http.Response, error) {
		s.opened.Add(1)
		return &http.Response{
			StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{}, Body: &body{Reader: strings.NewReader(text), s: s}, ContentLength: int64(len(text)), Request: r,
		}, nil
	}
}

// slow takes its time, as a real service does, and no longer than the request
// lives.
func slow(a answer) answer {
	return func(s *service, r *http.Request) (*http.Response, error) {
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-time.After(2 * time.Millisecond):
			return a(s, r)
		}
	}
}

func fails(err error) answer {
	return func(*service, *http.Request) (*http.Response, error) { return nil, err }
}

// hangs answers when the caller has left, or at the end of the test.
func hangs(s *service, r *http.Request) (*http.Response, error) {
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-s.gate:
		return nil, errors.New("the test is over")
	}
}

type body struct {
	io.Reader
	s    *service
	once sync.Once
	gone atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	if b.gone.Load() {
		return 0, errors.New("read on a closed body")
	}
	return b.Reader.Read(p)
}

func (b *body) Close() error {
	b.gone.Store(true)
	b.once.Do(func() { b.s.closed.Add(1) })
	return nil
}

func newConnState(open *atomic.Int64) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		case http.StateActive, http.StateIdle: // it was open before
		}
	}
}

// eventually waits a while for what should hold soon. Whether it does is for
// the caller to see.
func eventually(cond func() bool) {
	for end := time.Now().Add(patience / 4); !cond() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

func within(t *testing.T, done <-chan struct{}, code, says string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		probe.Fatalf(t, code, "%v later %s.", patience, says)
	}
}
