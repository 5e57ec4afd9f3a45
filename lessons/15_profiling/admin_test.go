package admin_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pitstop/checker/probe"
	admin "pitstop/lessons/15_profiling"
)

const (
	// patience is the most that a test waits for what should come at once.
	patience = 3 * time.Second

	// writeTimeout is that of the servers under test; a profile takes longer.
	writeTimeout = 400 * time.Millisecond
)

func TestOpen_PublicPortHasNoProfiles(t *testing.T) {
	for name, cfg := range map[string]admin.Config{
		"profiles on":  {Handler: routes(), Admin: "127.0.0.1:0"},
		"profiles off": {Handler: routes()},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, cfg)
			checkAnswer(t, get(p.PublicAddr(), "/orders/42"), http.StatusOK, "parcel 42", "profile.handler")
			for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline"} {
				checkNotFound(t, p.PublicAddr(), path, "the public port")
			}
		})
	}
}

func TestOpen_ProfilesAreOnLoopbackOnly(t *testing.T) {
	p := open(t, admin.Config{Handler: routes(), Admin: "127.0.0.1:0"})
	checkAnswer(t, get(adminAddr(t, p), "/debug/pprof/"), http.StatusOK, "goroutine", "profile.missing")

	// Whoever listens on every interface answers here too; 127.0.0.1 does not.
	_, port, _ := net.SplitHostPort(adminAddr(t, p).String())
	conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.2", port), patience)
	if err == nil {
		conn.Close()
		probe.Errorf(t, "profile.exposed", "Admin is 127.0.0.1:0, and the profiles can be reached by another address of this machine: they are at %v.", p.AdminAddr())
	}
}

func TestOpen_NoProfilesUnlessAskedFor(t *testing.T) {
	p := open(t, admin.Config{Handler: routes()})
	if addr := p.AdminAddr(); addr != nil {
		probe.Errorf(t, "profile.uninvited", "Admin is empty, and AdminAddr is %v instead of nil.", addr)
	}
}

func TestOpen_ProfileIsNotCut(t *testing.T) {
	t.Parallel() // with what else takes its time
	p := open(t, admin.Config{Handler: routes(), Admin: "127.0.0.1:0"})
	checkWhole(t, adminAddr(t, p), "/debug/pprof/profile?seconds=1", time.Second)
}

func TestOpen_GoroutineProfileNamesALeak(t *testing.T) {
	// As in lesson 01: tasks that wait for a database that does not answer.
	const n = 7
	database := make(chan struct{})
	var tasks sync.WaitGroup
	for range n {
		tasks.Go(func() { waitForDatabase(database) })
	}
	t.Cleanup(func() { close(database); tasks.Wait() })

	p := open(t, admin.Config{Handler: routes(), Admin: "127.0.0.1:0"})
	want := fmt.Sprintf("%d @", n)
	deadline := time.Now().Add(patience)
	for {
		a := get(adminAddr(t, p), "/debug/pprof/goroutine?debug=1")
		for stack := range strings.SplitSeq(a.body, "\n\n") {
			if strings.Contains(stack, want) && strings.Contains(stack, "waitForDatabase") {
				return
			}
		}
		if time.Now().After(deadline) {
			probe.Fatalf(t, "profile.missing", "%d goroutines stand in waitForDatabase, and the goroutine profile does not say so; it was %v, with %d bytes.", n, a, len(a.body))
		}
		time.Sleep(time.Millisecond)
	}
}

func waitForDatabase(answer <-chan struct{}) { <-answer }

// routes is the public part of dispatchd.
func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "parcel %s", r.PathValue("id"))
	})
	return mux
}

// open opens ports on free ports of this machine, until the end of the test.
func open(t *testing.T, cfg admin.Config) *admin.Ports {
	t.Helper()
	if cfg.Public == "" {
		cfg.Public = "127.0.0.1:0"
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = writeTimeout
	}
	p, err := tryOpen(t, cfg)
	if err != nil {
		probe.Fatalf(t, "profile.open", "Open gives %q for Public %q and Admin %q.", err, cfg.Public, cfg.Admin)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		within("Shutdown", func() error { return p.Shutdown(ctx) })
	})
	return p
}

func tryOpen(t *testing.T, cfg admin.Config) (p *admin.Ports, err error) {
	t.Helper()
	if err := within("Open", func() error { p, err = admin.Open(cfg); return nil }); err != nil {
		probe.Fatalf(t, "profile.open", "%v, with Public %q and Admin %q.", err, cfg.Public, cfg.Admin)
	}
	return p, err
}

// within calls f, and gives its error, or says that it panicked or hangs.
func within(name string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("%s panicked: %v", name, p)
			}
		}()
		done <- f()
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(patience + time.Second):
		return fmt.Errorf("%s %w %v", name, errHangs, patience+time.Second)
	}
}

var errHangs = errors.New("had not returned after")

func adminAddr(t *testing.T, p *admin.Ports) net.Addr {
	t.Helper()
	addr := p.AdminAddr()
	if addr == nil {
		probe.Fatalf(t, "profile.missing", "AdminAddr is nil, though profiles were asked for.")
	}
	return addr
}

// answer is what came of a request, whole or not.
type answer struct {
	status int
	body   string
	err    error
}

func (a answer) String() string {
	if a.err != nil {
		return fmt.Sprintf("an answer that broke off (%v)", a.err)
	}
	return fmt.Sprintf("status %d", a.status)
}

func get(addr net.Addr, path string) answer {
	req, err := http.NewRequest("GET", "http://"+reachable(addr)+path, nil)
	if err != nil {
		return answer{err: err}
	}
	return do(req)
}

func do(req *http.Request) answer {
	client := http.Client{
		Timeout:       patience + time.Second,
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, string(body), err}
}

// reachable is the address to dial for a listener at addr.
func reachable(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	return addr.String()
}

func checkAnswer(t *testing.T, got answer, status int, part, code string) {
	t.Helper()
	if got.err != nil || got.status != status || !strings.Contains(got.body, part) {
		probe.Errorf(t, code, "got %v and %d bytes, wanted status %d and a body with %q.", got, len(got.body), status, part)
	}
}

func checkNotFound(t *testing.T, addr net.Addr, path, where string) {
	t.Helper()
	a := get(addr, path)
	if a.err != nil || a.status != http.StatusNotFound {
		probe.Errorf(t, "profile.public", "%s answers %s with %v and %d bytes; it should be 404.", where, path, a, len(a.body))
	}
}

// checkWhole fetches a profile that takes a while, and reads it to its end.
func checkWhole(t *testing.T, addr net.Addr, path string, takes time.Duration) {
	t.Helper()
	began := time.Now()
	a := get(addr, path)
	took := time.Since(began)
	probe.Note(t, "time that "+path+" took", took.Round(time.Millisecond).Seconds(), "s")
	if a.err != nil || a.status != http.StatusOK || a.body == "" {
		probe.Errorf(t, "profile.cut", "%s gave %v after %v, with a WriteTimeout of %v: it is to go on for %v.", path, a, took.Round(10*time.Millisecond), writeTimeout, takes)
		return
	}
	if took < takes {
		probe.Errorf(t, "profile.cut", "%s was over after %v of %v.", path, took.Round(10*time.Millisecond), takes)
	}
	if strings.HasPrefix(a.body, "\x1f\x8b") {
		z, err := gzip.NewReader(strings.NewReader(a.body))
		if err == nil {
			_, err = io.Copy(io.Discard, z)
		}
		if err != nil {
			probe.Errorf(t, "profile.cut", "%s gave %d bytes that end too early: %v.", path, len(a.body), err)
		}
	}
}
