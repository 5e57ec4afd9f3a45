package dispatchd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pitstop/checker/probe"
	dispatchd "pitstop/lessons/24_capstone"
	"pitstop/lessons/24_capstone/world"
)

// The tests start dispatchd as a process of its own, on loopback, with a world
// around it that they can break. Each has one to itself.
func TestMain(m *testing.M) {
	run := func() int { return dispatchd.Main("test") }
	probe.Main(m, map[string]func() int{"dispatchd": run, "dispatchd, 96 files": func() int {
		if err := probe.OpenFiles(96); err != nil {
			fmt.Println("no limit of open files:", err)
			return 98
		}
		return run()
	}})
}

// limit is how long a test waits for what must come. On a machine that has
// time for it, it comes at once.
const limit = 20 * time.Second

// memory is what the process may hold, as a container's limit.
const memory = 256 << 20

// service is one running dispatchd.
type service struct {
	*probe.Process
	t       *testing.T
	world   *world.World
	outside *httptest.Server // what serves the world
	http    string           // base URLs
	ops     string
	measure string
	scan    string // host:port
	plan    struct{ limit, workers, cache int64 }
	cap     *probe.Cap
	client  *http.Client // a connection for each request that is under way
}

// start runs dispatchd until it is ready, or fails the test.
func start(t *testing.T, env ...string) *service { return launch(t, env...).ready() }

func (s *service) ready() *service {
	s.t.Helper()
	s.http, s.ops = "http://"+s.port("http"), "http://"+s.port("ops")
	s.scan = s.port("scan")
	if !ask(limit, func() bool { return s.get("/health/ready").code == 200 }) {
		s.t.Fatal("dispatchd does not get ready")
	}
	return s
}

// launch starts dispatchd and waits for nothing.
func launch(t *testing.T, env ...string) *service { return launchAs(t, "dispatchd", env...) }

func launchAs(t *testing.T, program string, env ...string) *service {
	t.Helper()
	s := &service{t: t, world: world.New()}
	s.outside = httptest.NewServer(s.world)
	t.Cleanup(func() {
		s.outside.CloseClientConnections()
		s.outside.Close()
	})
	s.client = &http.Client{Timeout: limit, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	t.Cleanup(s.client.CloseIdleConnections)
	all := []string{
		"DATABASE_URL=" + s.outside.URL, "CGROUP_ROOT=" + t.TempDir(), "MEASURE_ADDR=127.0.0.1:0",
		"HTTP_ADDR=127.0.0.1:0", "SCAN_ADDR=127.0.0.1:0", "OPS_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0",
		"DRAIN=300ms", "BUDGET=10s", "GOMAXPROCS=2", "GOMEMLIMIT=", "GOGC=", "DISPATCHD_CACHE=",
		"DEBUG_LEVEL=", "LOG_HTTP_REQUESTS=", "ENABLE_PPROF=", "OTEL_BSP_SCHEDULE_DELAY=50",
	}
	s.Process = probe.Start(t, program, append(all, env...)...)
	s.cap = s.Cap(t, memory)
	return s
}

// port waits until dispatchd says where a port is.
func (s *service) port(name string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	addr, err := s.Line(ctx, "listening "+name+" ")
	if err != nil {
		s.t.Fatalf("dispatchd does not open its %s port: %v", name, err)
	}
	return addr
}

// planned reads how dispatchd shares its memory.
func (s *service) planned() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	line, err := s.Line(ctx, "plan ")
	require.NoError(s.t, err)
	_, err = fmt.Sscanf(line, "limit=%d workers=%d cache=%d", &s.plan.limit, &s.plan.workers, &s.plan.cache)
	require.NoError(s.t, err)
}

// reply is an answer; code 0 is none.
type reply struct {
	code int
	body string
	err  error
}

func (s *service) get(path string) reply { return s.call(s.t.Context(), "GET", s.http+path, nil) }

func (s *service) post(path string, body any) reply {
	return s.call(s.t.Context(), "POST", s.http+path, body)
}

// call makes one request. A body that is not bytes is sent as JSON.
func (s *service) call(ctx context.Context, method, url string, body any) reply {
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		r = bytes.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			return reply{err: err}
		}
		r = bytes.NewReader(j)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, r)
	if err != nil {
		return reply{err: err}
	}
	if r != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{err: err}
	}
	return reply{code: resp.StatusCode, body: string(b)}
}

// stream posts a body while it is being written.
func (s *service) stream(path string) (*io.PipeWriter, <-chan reply) {
	body, w := io.Pipe()
	done := make(chan reply, 1)
	go func() {
		r := reply{}
		req, err := http.NewRequestWithContext(s.t.Context(), "POST", s.http+path, body)
		if err == nil {
			req.Header.Set("Content-Type", "application/json")
			var resp *http.Response
			if resp, err = s.client.Do(req); err == nil {
				r.code = resp.StatusCode
				resp.Body.Close()
			}
		}
		r.err = err
		body.CloseWithError(io.ErrClosedPipe) // nobody reads it any more
		done <- r
	}()
	return w, done
}

// each makes n calls side by side and returns their answers.
func each(n int, call func(i int) reply) []reply {
	all := make([]reply, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { all[i] = call(i) })
	}
	wg.Wait()
	return all
}

// with counts the answers of a status.
func with(all []reply, code int) (n int) {
	for _, r := range all {
		if r.code == code {
			n++
		}
	}
	return n
}

// held reads what the process holds. With gc it collects first.
func (s *service) held(gc bool) (m dispatchd.Measure) {
	s.t.Helper()
	if s.measure == "" {
		s.measure = "http://" + s.port("measure")
	}
	url := s.measure
	if gc {
		url += "?gc=1"
	}
	r := s.call(s.t.Context(), "GET", url, nil)
	require.Equal(s.t, 200, r.code, "measure: %v", r.err)
	require.NoError(s.t, json.Unmarshal([]byte(r.body), &m))
	return m
}

// stop sends SIGTERM and returns the exit status and how long it took.
func (s *service) stop() (status int, took time.Duration) {
	s.t.Helper()
	s.client.CloseIdleConnections() // net/http waits 5 s for one that was opened and never used
	began := time.Now()
	require.NoError(s.t, s.Signal(syscall.SIGTERM))
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	status, err := s.Wait(ctx)
	if err != nil {
		probe.Fatalf(s.t, "wiring.budget", "dispatchd was still running %v after SIGTERM: something waits without an end.", limit)
	}
	return status, time.Since(began)
}

// ask is [probe.Poll] for a question that goes over the network.
func ask(limit time.Duration, cond func() bool) bool {
	return probe.Poll(limit, func() bool {
		if cond() {
			return true
		}
		time.Sleep(10 * time.Millisecond)
		return false
	})
}

// refused waits until the port takes no new connection.
func (s *service) refused(url string) bool {
	addr := strings.TrimPrefix(url, "http://")
	return ask(limit, func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// onceRefused makes a part of the world that hangs answer, each call after a
// delay, once dispatchd's port is closed: nothing is done before the signal,
// and all can be after it.
func (s *service) onceRefused(name string, delay time.Duration) {
	go func() {
		s.refused(s.http)
		time.Sleep(delay) // for the calls that hang; Set answers them at once
		s.world.Set(name, world.Fault{Delay: delay})
	}()
}

// container writes the cgroup files of a container with so much memory and
// returns the setting that shows them to dispatchd.
func container(t *testing.T, limit int64) string {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "sys/fs/cgroup")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "memory.max"), fmt.Appendf(nil, "%d\n", limit), 0o644))
	return "CGROUP_ROOT=" + root
}
