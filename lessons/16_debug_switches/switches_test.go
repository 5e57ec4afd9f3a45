package switches_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pitstop/checker/probe"
	switches "pitstop/lessons/16_debug_switches"
)

func TestParse_KnownValues(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want switches.Config
	}{
		{nil, switches.Config{Level: slog.LevelInfo}},
		{map[string]string{"DEBUG_LEVEL": "trace"}, switches.Config{Level: switches.LevelTrace}},
		{map[string]string{"DEBUG_LEVEL": "Debug", "ENABLE_PPROF": "true"}, switches.Config{Level: slog.LevelDebug, Pprof: true}},
		{map[string]string{"DEBUG_LEVEL": "info", "LOG_HTTP_REQUESTS": "1"}, switches.Config{LogRequests: true}},
		{map[string]string{"DEBUG_LEVEL": "warn", "LOG_HTTP_REQUESTS": "false"}, switches.Config{Level: slog.LevelWarn}},
		{map[string]string{"DEBUG_LEVEL": "ERROR", "ENABLE_PPROF": "0"}, switches.Config{Level: slog.LevelError}},
	} {
		checkParse(t, c.env, c.want)
	}
}

func TestParse_UnknownValueIsAnError(t *testing.T) {
	for _, c := range [][2]string{
		{"DEBUG_LEVEL", "trase"}, {"DEBUG_LEVEL", "verbose"}, {"LOG_HTTP_REQUESTS", "yes"}, {"ENABLE_PPROF", "on"},
	} {
		checkUnknown(t, map[string]string{c[0]: c[1]})
	}
}

func TestVerbosity_GoesBackByItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := switches.NewVerbosity(slog.LevelInfo)
		checkLevel(t, v, slog.LevelInfo, "at the start")
		v.Turn(slog.LevelDebug, 10*time.Minute)
		checkLevel(t, v, slog.LevelDebug, "turned to debug for 10m")
		time.Sleep(11 * time.Minute)
		checkLevel(t, v, slog.LevelInfo, "11m after it was turned for 10m")

		v.Turn(slog.LevelDebug, 10*time.Minute)
		time.Sleep(5 * time.Minute)
		v.Turn(switches.LevelTrace, 10*time.Minute)
		time.Sleep(6 * time.Minute)
		checkLevel(t, v, switches.LevelTrace, "6m after it was turned a second time, for 10m")
		time.Sleep(time.Hour)
		checkLevel(t, v, slog.LevelInfo, "an hour after the second of two turns of 10m")
	})
}

func TestLogRequests_StreamGoesThrough(t *testing.T) {
	// The courier's app waits for the first event before it does anything.
	seen := make(chan struct{})
	release := sync.OnceFunc(func() { close(seen) })
	defer release()
	time.AfterFunc(patience, release)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "event 1\n")
		if err := http.NewResponseController(w).Flush(); err != nil {
			probe.Errorf(t, "requests.flush", "Flush through an http.ResponseController gives %q under LogRequests.", err)
			release()
		}
		<-seen
		io.WriteString(w, "event 2\n")
	})

	res := s.get("/push", nil)
	first := make([]byte, len("event 1\n"))
	io.ReadFull(res.Body, first)
	select {
	case <-seen:
		if !t.Failed() {
			probe.Errorf(t, "requests.flush", "an event that was written and flushed had not come through after %v.", patience)
		}
	default:
		if n := len(s.log.entries(t, 0)); n > 0 {
			probe.Errorf(t, "requests.early", "the log has an entry for a request that has not ended.")
		}
	}
}

func TestLogRequests_StatusAndSize(t *testing.T) {
	checkEntry(t, "GET", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "parcel 42")
	}, 200, 9)
	checkEntry(t, "POST", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, "no such parcel")
	}, 404, 14)
}

func TestLogRequests_KeepsSecrets(t *testing.T) {
	t.Setenv("DEBUG_LEVEL", "trace")
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })
	s.get("/orders/42", http.Header{"Authorization": {"Bearer k3y-in-a-header"}})
	s.get("/orders/43?token=k3y-in-a-query", nil)
	s.log.entries(t, 2)
	checkNoSecret(t, s.log, "k3y-in-a-header", "k3y-in-a-query")
}

// checkParse parses env and compares.
func checkParse(t *testing.T, env map[string]string, want switches.Config) {
	t.Helper()
	got, err := switches.Parse(lookup(env))
	if err != nil {
		probe.Errorf(t, "switch.refused", "Parse gives %q for %v.", err, env)
	} else if got != want {
		probe.Errorf(t, "switch.parsed", "Parse gives %+v for %v, wanted %+v.", got, env, want)
	}
}

// checkUnknown parses env, all of whose values nobody knows.
func checkUnknown(t *testing.T, env map[string]string) {
	t.Helper()
	got, err := switches.Parse(lookup(env))
	if err == nil {
		probe.Errorf(t, "switch.unknown", "Parse takes %v without an error, and gives %+v.", env, got)
		return
	}
	if !errors.Is(err, switches.ErrValue) {
		probe.Errorf(t, "switch.unnamed", "Parse gives %q for %v, which is not ErrValue.", err, env)
	}
	for key, value := range env {
		if !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), value) {
			probe.Errorf(t, "switch.unnamed", "the error for %v is %q: it does not name both %s and its value.", env, err, key)
		}
	}
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(key string) (string, bool) { v, ok := env[key]; return v, ok }
}

func checkLevel(t *testing.T, v *switches.Verbosity, want slog.Level, when string) {
	t.Helper()
	synctest.Wait()
	if got := v.Level(); got != want {
		probe.Errorf(t, "level.stuck", "the level is %v %s; it should be %v.", got, when, want)
	}
}

// bubble runs f in fake time. A goroutine that f leaves behind is a finding.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			probe.Fatalf(t, "level.goroutine", "the Verbosity keeps a goroutine, or a call never returns: %v.", p)
		}
	}()
	synctest.Test(t, f)
}

// patience is the most that a test waits for what should come at once.
const patience = 2 * time.Second

// server is a real one: LogRequests around a handler.
type server struct {
	t    testing.TB
	url  string
	http *http.Client
	log  *buffer
}

func serve(t testing.TB, handler http.HandlerFunc) *server {
	out := &buffer{}
	logger := slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: switches.LevelTrace}))
	s := httptest.NewUnstartedServer(switches.LogRequests(logger, handler))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	client := s.Client()
	client.Timeout = 2 * patience
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &server{t: t, url: s.URL, http: client, log: out}
}

// get sends a request and gives the answer, whose body is closed at the end
// of the test.
func (s *server) get(path string, h http.Header) *http.Response {
	s.t.Helper()
	return s.send("GET", path, h, nil)
}

func (s *server) send(method, path string, h http.Header, body io.Reader) *http.Response {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if h != nil {
		req.Header = h
	}
	res, err := s.http.Do(req)
	if err != nil {
		probe.Fatalf(s.t, "requests.lost", "%s %s got no answer under LogRequests: %v.", method, path, err)
	}
	s.t.Cleanup(func() { res.Body.Close() })
	return res
}

// checkEntry serves one request with handler and looks at what is logged.
func checkEntry(t *testing.T, method string, handler http.HandlerFunc, status, size int) {
	t.Helper()
	s := serve(t, handler)
	res := s.send(method, "/orders/42", nil, nil)
	io.Copy(io.Discard, res.Body)
	checkOne(t, s.log, method, "/orders/42", status, size)
}

func checkOne(t *testing.T, log *buffer, method, path string, status, size int) {
	t.Helper()
	all := log.entries(t, 1)
	if len(all) != 1 {
		probe.Fatalf(t, "requests.entries", "one request, %d entries in the log.", len(all))
	}
	e := all[0]
	if e.Method != method || e.Path != path {
		probe.Errorf(t, "requests.path", "the entry says %s %s for %s %s.", e.Method, e.Path, method, path)
	}
	if e.Status == nil || *e.Status != status {
		probe.Errorf(t, "requests.status", "the entry of a request that ended with %d says status %s.", status, show(e.Status))
	}
	if e.Size == nil || *e.Size != size {
		probe.Errorf(t, "requests.size", "the entry of an answer of %d bytes says size %s.", size, show(e.Size))
	}
}

func checkNoSecret(t *testing.T, log *buffer, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		for line := range strings.Lines(log.String()) {
			if i := strings.Index(line, secret); i >= 0 {
				probe.Errorf(t, "requests.secret", "what a client keeps secret is in the log: …%s…", line[max(0, i-30):i+len(secret)])
				break
			}
		}
	}
}

func show(n *int) string {
	if n == nil {
		return "nothing"
	}
	b, _ := json.Marshal(*n)
	return string(b)
}

// entry is a line of the log.
type entry struct {
	Level, Method, Path string
	Status, Size, Took  *int
}

// buffer is a log that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// entries waits until there are n, since an answer may arrive before its entry
// is written, and gives all.
func (b *buffer) entries(t testing.TB, n int) []entry {
	t.Helper()
	deadline := time.Now().Add(patience)
	for strings.Count(b.String(), "\n") < n {
		if time.Now().After(deadline) {
			probe.Fatalf(t, "requests.entries", "%d of %d requests were in the log %v after they ended.", strings.Count(b.String(), "\n"), n, patience)
		}
		time.Sleep(time.Millisecond)
	}
	var all []entry
	for line := range strings.Lines(b.String()) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			probe.Fatalf(t, "requests.entries", "an entry has a field of another kind than promised: %v: %s", err, line)
		}
		all = append(all, e)
	}
	return all
}
