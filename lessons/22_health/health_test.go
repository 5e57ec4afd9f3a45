package health_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pitstop/checker/probe"
	health "pitstop/lessons/22_health"
)

// timeout is what a service whose database hangs has here. It would be a
// second.
const timeout = 50 * time.Millisecond

func TestLive_DependsOnNothingElse(t *testing.T) {
	db := newDependency(t)
	h := health.New(config(db))
	public := serve(t, h.Handler())
	if a := public.get(health.LivePath); a.code != http.StatusOK {
		probe.Errorf(t, "health.live_depends", "live answers %d before start-up ends: the kubelet restarts a process that is starting.", a.code)
	}
	h.Started()
	db.fails(errors.New("connection refused"))
	a := public.get(health.LivePath)
	if !probe.Equal(t, "live while the database refuses", a.code, http.StatusOK, "status") {
		probe.Fatalf(t, "health.live_depends", "live answers %d because the database refuses connections: the kubelet restarts every pod that asks it.", a.code)
	}
	db.hangs()
	a = public.ask(http.MethodGet, health.LivePath)
	if a.err != nil || a.code != http.StatusOK {
		probe.Fatalf(t, "health.live_depends", "live gives %v while the database hangs.", a)
	}
	a.wantStatus(t, health.OK)
}

func TestReady_FollowsTheService(t *testing.T) {
	db := newDependency(t)
	h := health.New(config(db))
	public := serve(t, h.Handler())

	checkReady(t, public, http.StatusServiceUnavailable, health.Starting, "health.starting", "before start-up has ended")
	h.Started()
	checkReady(t, public, http.StatusOK, health.Ready, "health.ready", "when the service is up and its database too")
	db.fails(errors.New("connection refused"))
	checkReady(t, public, http.StatusServiceUnavailable, health.Unavailable, "health.ready", "when the database refuses")
	db.works()
	checkReady(t, public, http.StatusOK, health.Ready, "health.stale", "when the database is back")
	h.Stopping()
	checkReady(t, public, http.StatusServiceUnavailable, health.Stopping, "health.stopping", "when shutdown has begun")
	if a := public.get(health.LivePath); a.code != http.StatusOK {
		probe.Errorf(t, "health.live_depends", "live answers %d while the service stops: the kubelet then ends it before it has drained.", a.code)
	}
}

func TestReady_AnswersInTime(t *testing.T) {
	db := newDependency(t)
	db.hangs()
	cfg := config(db)
	cfg.Timeout = timeout
	h := health.New(cfg)
	h.Started()
	public := serve(t, h.Handler())
	a := public.ask(http.MethodGet, health.ReadyPath)
	if a.err != nil {
		probe.Fatalf(t, "health.unbounded", "ready has not answered after %v while the database hangs; with its Timeout it has %v.", a.waited, timeout)
	}
	probe.Note(t, "ready while the database hangs", float64(a.waited.Milliseconds()), "ms")
	if a.code != http.StatusServiceUnavailable {
		probe.Errorf(t, "health.ready", "ready answers %d while the database hangs.", a.code)
	}
}

// config watches deps, uses no outcome twice, and waits longer than any test.
func config(deps ...*dependency) health.Config {
	cfg := health.Config{Version: "1.4.2", Timeout: time.Minute, MaxAge: time.Nanosecond}
	for i, dep := range deps {
		cfg.Checks = append(cfg.Checks, health.Check{Name: []string{"database", "queue", "maps"}[i], Ping: dep.ping})
	}
	return cfg
}

func checkReady(t *testing.T, s *server, code int, status, finding, when string) {
	t.Helper()
	a := s.get(health.ReadyPath)
	if a.code != code {
		probe.Fatalf(t, finding, "ready answers %d, not %d, %s.", a.code, code, when)
	}
	a.wantStatus(t, status)
}

// dependency is something that dispatchd needs.
type dependency struct {
	calls, inside, peak atomic.Int64

	mu     sync.Mutex
	behave func(ctx context.Context) error
}

func newDependency(t testing.TB) *dependency {
	d := &dependency{}
	d.works()
	return d
}

func (d *dependency) ping(ctx context.Context) error {
	d.calls.Add(1)
	n := d.inside.Add(1)
	defer d.inside.Add(-1)
	for {
		old := d.peak.Load()
		if n <= old || d.peak.CompareAndSwap(old, n) {
			break
		}
	}
	d.mu.Lock()
	behave := d.behave
	d.mu.Unlock()
	return behave(ctx)
}

func (d *dependency) will(f func(ctx context.Context) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.behave = f
}

func (d *dependency) works() { d.will(func(context.Context) error { return nil }) }

func (d *dependency) fails(err error) { d.will(func(context.Context) error { return err }) }

// hangs makes the dependency silent: a ping ends with its context only.
func (d *dependency) hangs() {
	d.will(func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
}

// server serves a handler over real connections.
type server struct {
	t    testing.TB
	url  string
	http *http.Client
	stop func()
}

func serve(t testing.TB, h http.Handler) *server {
	t.Helper()
	srv := httptest.NewServer(h)
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	s := &server{t: t, url: srv.URL, http: &http.Client{Transport: transport}}
	s.stop = sync.OnceFunc(func() {
		transport.CloseIdleConnections()
		srv.CloseClientConnections()
		srv.Close()
	})
	t.Cleanup(s.stop)
	return s
}

// answer is what came back for one request.
type answer struct {
	err    error
	code   int
	header http.Header
	body   string
	waited time.Duration
}

// ask sends one request and waits for the answer as long as there is patience.
func (s *server) ask(method, path string) answer {
	ctx, cancel := context.WithTimeout(context.Background(), wait.Limit())
	defer cancel()
	a := s.askContext(ctx, method, path)
	if a.err != nil {
		wait.InVain()
	}
	return a
}

func (s *server) askContext(ctx context.Context, method, path string) (a answer) {
	begin := time.Now()
	defer func() { a.waited = time.Since(begin).Round(time.Millisecond) }()
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, nil)
	if err != nil {
		return answer{err: err}
	}
	res, err := s.http.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{err: err, code: res.StatusCode, header: res.Header, body: string(body)}
}

// get is ask for what must be answered.
func (s *server) get(path string) answer {
	s.t.Helper()
	a := s.ask(http.MethodGet, path)
	if a.err != nil {
		probe.Fatalf(s.t, "health.no_answer", "GET %s has no answer after %v: %v.", path, a.waited, a.err)
	}
	return a
}

// wantStatus checks that an answer is JSON with this status.
func (a answer) wantStatus(t testing.TB, want string) {
	t.Helper()
	if media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type")); media != "application/json" {
		probe.Errorf(t, "health.json", "an answer %d says that it is %q, not application/json.", a.code, a.header.Get("Content-Type"))
	}
	var got struct{ Status string }
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Status != want {
		probe.Errorf(t, "health.json", "an answer %d has the body %q; want JSON with the status %q.", a.code, a.body, want)
	}
}

// wait is how long a test waits for what must come.
var wait = probe.Patience{Full: 1500 * time.Millisecond, Short: 400 * time.Millisecond}
