//go:build review

package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/trace"
	"strings"
	"sync"
	"testing"
	"time"

	"pitstop/checker/probe"
	admin "pitstop/lessons/15_profiling"
)

// Some package that is imported registers something, as expvar does.
func init() {
	http.HandleFunc("/by-accident", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "by accident") })
}

func TestReview_AllProfilesAreThere(t *testing.T) {
	t.Parallel()
	p := open(t, admin.Config{Handler: routes(), Admin: "localhost:0"})
	addr := adminAddr(t, p)
	for _, path := range []string{
		"", "goroutine", "goroutine?debug=2", "heap", "heap?gc=1", "allocs", "block", "mutex", "threadcreate", "cmdline", "symbol?0x1",
	} {
		if a := get(addr, "/debug/pprof/"+path); a.err != nil || a.status != http.StatusOK || a.body == "" {
			probe.Errorf(t, "profile.missing", "/debug/pprof/%s gives %v and %d bytes.", path, a, len(a.body))
		}
	}
	checkWhole(t, addr, "/debug/pprof/trace?seconds=0.6", 600*time.Millisecond)
	if a := get(addr, "/orders/42"); a.err != nil || a.status != http.StatusNotFound {
		probe.Errorf(t, "profile.mixed", "the port of the profiles answers /orders/42 with %v: it has the public routes too.", a)
	}
}

func TestReview_DefaultServeMuxIsNotServed(t *testing.T) {
	for name, handler := range map[string]http.Handler{"with routes": routes(), "Handler nil": nil} {
		t.Run(name, func(t *testing.T) {
			p := open(t, admin.Config{Handler: handler, Admin: "127.0.0.1:0"})
			for where, addr := range map[string]net.Addr{"the public port": p.PublicAddr(), "the port of the profiles": adminAddr(t, p)} {
				if a := get(addr, "/by-accident"); a.err != nil || a.status != http.StatusNotFound {
					probe.Errorf(t, "profile.default_mux", "%s answers /by-accident with %v: a package has registered that with http.DefaultServeMux, and nobody asked for it.", where, a)
				}
			}
			checkNotFound(t, p.PublicAddr(), "/debug/pprof/", "the public port, "+name+",")
		})
	}
}

func TestReview_PublicPortIsTheHandlersAlone(t *testing.T) {
	all := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "the depot's page "+r.URL.Path) })
	p := open(t, admin.Config{Handler: all, Admin: "127.0.0.1:0"})
	for _, path := range []string{"/", "/orders/42", "/orders//42", "/orders/../42", "/debug/pprof/", "/debug/pprof/heap", "/debug/anything"} {
		checkAnswer(t, get(p.PublicAddr(), path), http.StatusOK, "the depot's page "+path, "profile.handler")
	}
}

func TestReview_NoHeaderOpensTheProfiles(t *testing.T) {
	p := open(t, admin.Config{Handler: routes(), Admin: "127.0.0.1:0"})
	adm := adminAddr(t, p).String()
	for _, h := range []string{
		"Host: " + adm, "Host: localhost", "Host: admin", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "X-Forwarded-Host: " + adm,
		"X-Debug: 1", "X-Debug: true", "X-Admin: true", "X-Internal: true", "X-Internal: 1", "Authorization: Bearer admin", "User-Agent: Go-http-client/1.1",
	} {
		key, value, _ := strings.Cut(h, ": ")
		for _, path := range []string{"/debug/pprof/", "//debug/pprof/", "/debug/pprof/goroutine?debug=1"} {
			req, _ := http.NewRequest("GET", "http://"+p.PublicAddr().String()+path, nil)
			req.Header.Set(key, value)
			if key == "Host" {
				req.Host = value
			}
			if a := do(req); a.err == nil && a.status == http.StatusOK {
				probe.Errorf(t, "profile.public", "the public port serves %s to whoever says %q.", path, h)
			}
		}
	}
}

func TestReview_OnlyLoopbackIsTaken(t *testing.T) {
	// The port of a listener is taken, and the last two addresses are in no
	// network: that a check comes first is seen by the error.
	busy, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	taken := busy.Addr().(*net.TCPAddr).Port
	refused := []string{":0", "0.0.0.0:0", "[::]:0", fmt.Sprintf(":%d", taken), fmt.Sprintf("0.0.0.0:%d", taken), "192.0.2.1:0", "[2001:db8::1]:0"}
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
				refused = append(refused, net.JoinHostPort(n.IP.String(), "0"))
				break
			}
		}
	}
	for _, address := range refused {
		p, err := tryOpen(t, admin.Config{Public: "127.0.0.1:0", Handler: routes(), Admin: address, WriteTimeout: writeTimeout})
		switch {
		case err == nil:
			probe.Errorf(t, "profile.loopback", "Admin is %q, and Open serves the profiles at %v without an error.", address, p.AdminAddr())
			shutdown(t, p)
		case !errors.Is(err, admin.ErrNotLoopback):
			probe.Errorf(t, "profile.loopback", "Admin is %q, and Open gives %q, which is not ErrNotLoopback.", address, err)
		}
	}
	for _, address := range []string{"6060", "127.0.0.1", "127.0.0.1:nine", "[::1:0"} {
		p, err := tryOpen(t, admin.Config{Public: "127.0.0.1:0", Handler: routes(), Admin: address, WriteTimeout: writeTimeout})
		if err == nil {
			probe.Errorf(t, "profile.loopback", "Admin is %q, which is no address, and Open gives no error.", address)
			shutdown(t, p)
		}
	}
	loopback := []string{"127.0.0.1:0", "localhost:0", "127.0.0.3:0"}
	if ln, err := net.Listen("tcp", "[::1]:0"); err == nil {
		ln.Close()
		loopback = append(loopback, "[::1]:0")
	}
	for _, address := range loopback {
		p := open(t, admin.Config{Handler: routes(), Admin: address})
		checkAnswer(t, get(adminAddr(t, p), "/debug/pprof/"), http.StatusOK, "goroutine", "profile.missing")
		if tcp, ok := p.AdminAddr().(*net.TCPAddr); address == "127.0.0.3:0" && ok && tcp.IP.String() != "127.0.0.3" {
			probe.Errorf(t, "profile.loopback", "Admin is %q, and the profiles are at %v.", address, tcp)
		}
	}
}

func TestReview_TakenPortIsReported(t *testing.T) {
	leaked := probe.Baseline()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for name, with := range map[string]func(free string) admin.Config{
		"the port of the profiles": func(free string) admin.Config { return admin.Config{Public: free, Admin: busy.Addr().String()} },
		"the public port":          func(free string) admin.Config { return admin.Config{Public: busy.Addr().String(), Admin: free} },
		"the address of the profiles is not loopback, its port": func(free string) admin.Config { return admin.Config{Public: free, Admin: "0.0.0.0:0"} },
	} {
		// Some other process may take a port meanwhile, but hardly three in a row.
		var opened error
		for range 3 {
			free := freeAddr(t)
			cfg := with(free)
			cfg.Handler, cfg.WriteTimeout = routes(), writeTimeout
			p, err := tryOpen(t, cfg)
			if err == nil {
				probe.Errorf(t, "profile.port", "%s cannot be had, and Open gives no error.", name)
				shutdown(t, p)
				opened = nil
				break
			}
			ln, taken := net.Listen("tcp", free)
			if taken == nil {
				ln.Close()
				opened = nil
				break
			}
			opened = err
		}
		if opened != nil {
			probe.Errorf(t, "profile.left_open", "%s cannot be had, Open gives %q, and the other port is open still.", name, opened)
		}
	}
	if gs := leaked(t, patience/2); len(gs) > 0 {
		probe.Errorf(t, "profile.left_open", "%d goroutines are left after Open gave an error: %s.", len(gs), probe.Where(gs))
	}
}

func TestReview_PublicAnswersKeepTheirTimeout(t *testing.T) {
	t.Parallel()
	for _, adm := range []string{"", "127.0.0.1:0"} {
		t.Run(fmt.Sprintf("Admin %q", adm), func(t *testing.T) {
			t.Parallel()
			slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-r.Context().Done():
				case <-time.After(2 * writeTimeout):
				}
				io.WriteString(w, "late")
			})
			p := open(t, admin.Config{Handler: slow, Admin: adm})
			if a := get(p.PublicAddr(), "/orders/42"); a.err == nil && a.status == http.StatusOK {
				probe.Errorf(t, "profile.slow_public", "a public answer that took %v was given whole, with a WriteTimeout of %v and Admin %q.", 2*writeTimeout, writeTimeout, adm)
			}
		})
	}
}

func TestReview_ShutdownClosesBoth(t *testing.T) {
	for _, adm := range []string{"", "127.0.0.1:0"} {
		leaked := probe.Baseline()
		p := open(t, admin.Config{Handler: routes(), Admin: adm})
		addrs := []net.Addr{p.PublicAddr()}
		if adm != "" {
			addrs = append(addrs, adminAddr(t, p))
		}
		shutdown(t, p)
		for _, addr := range addrs {
			if conn, err := net.DialTimeout("tcp", addr.String(), patience); err == nil {
				conn.Close()
				probe.Errorf(t, "profile.shutdown", "%v still takes connections after Shutdown.", addr)
			}
		}
		if gs := leaked(t, patience/2); len(gs) > 0 {
			probe.Errorf(t, "profile.shutdown", "%d goroutines are left after Shutdown: %s.", len(gs), probe.Where(gs))
		}
		shutdown(t, p) // once more
	}
}

func TestReview_ShutdownRightAfterOpen(t *testing.T) {
	// On one processor, what Open starts has not run yet when Shutdown is called.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const rounds = 10
	taken := 0
	for range rounds {
		var addrs []net.Addr
		err := within("Shutdown right after Open", func() error {
			p, err := admin.Open(admin.Config{Public: "127.0.0.1:0", Handler: routes(), Admin: "127.0.0.1:0", WriteTimeout: writeTimeout})
			if err != nil {
				return err
			}
			addrs = []net.Addr{p.PublicAddr(), p.AdminAddr()}
			return p.Shutdown(context.Background())
		})
		if err != nil {
			probe.Fatalf(t, "profile.shutdown", "Shutdown right after Open: %v.", err)
		}
		for _, addr := range addrs {
			ln, err := net.Listen("tcp", addr.String())
			if err != nil {
				taken++
				continue
			}
			ln.Close()
		}
	}
	// Another process may have been given one port in the meantime.
	if !probe.AtMost(t, fmt.Sprintf("ports still taken after %d times Open and Shutdown", rounds), taken, 1, "ports") {
		probe.Errorf(t, "profile.shutdown", "Shutdown was called right after Open, %d times, and %d of the %d ports were still taken when it had returned: a server that is shut down before Serve has run does not know its listener yet.", rounds, taken, 2*rounds)
	}
}

func TestReview_ShutdownWaitsForOrdersNotForProfiles(t *testing.T) {
	began, gate := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(gate) })
	defer release()
	order := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-gate
		io.WriteString(w, "booked")
	})
	p := open(t, admin.Config{Handler: order, Admin: "127.0.0.1:0", WriteTimeout: time.Minute})
	adm := adminAddr(t, p)
	answers := make(chan answer, 1)
	go func() { answers <- get(p.PublicAddr(), "/orders/42") }()
	<-began

	conn, err := net.DialTimeout("tcp", reachable(adm), patience)
	if err != nil {
		probe.Fatalf(t, "profile.missing", "the profiles cannot be reached: %v.", err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /debug/pprof/trace?seconds=60 HTTP/1.1\r\nHost: dispatchd\r\n\r\n")
	if !eventually(trace.IsEnabled) {
		probe.Fatalf(t, "profile.missing", "a trace of 60s had not begun after %v.", patience)
	}

	down := make(chan error, 1)
	go func() { down <- within("Shutdown", func() error { return p.Shutdown(context.Background()) }) }()
	public := p.PublicAddr().String()
	eventually(func() bool { // it has begun when the port is closed
		conn, err := net.DialTimeout("tcp", public, patience)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	select {
	case err := <-down:
		probe.Errorf(t, "profile.in_flight", "Shutdown returned %v while an order was under way, and its context has no end.", err)
		down <- err
	default:
		if a := get(adm, "/debug/pprof/goroutine?debug=1"); a.err != nil || a.status != http.StatusOK {
			probe.Errorf(t, "profile.shutdown", "the profiles give %v while Shutdown waits for an order: what it waits for is what one would like to see.", a)
		}
	}
	release()
	if a := <-answers; a.err != nil || a.body != "booked" {
		probe.Errorf(t, "profile.in_flight", "an order that was under way when Shutdown was called got %v.", a)
	}
	if err := <-down; errors.Is(err, errHangs) {
		probe.Fatalf(t, "profile.held", "Shutdown waits for a profile of 60s.")
	} else if err != nil {
		probe.Errorf(t, "profile.shutdown", "Shutdown gives %q after its only order has ended.", err)
	}
	if !eventually(func() bool { return !trace.IsEnabled() }) {
		probe.Errorf(t, "profile.held", "a trace of 60s goes on after Shutdown.")
	}
}

func TestReview_ShutdownGivesUpWithItsContext(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	hung := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		select {
		case <-r.Context().Done():
		case <-release:
		}
	})
	p := open(t, admin.Config{Handler: hung, Admin: "127.0.0.1:0", WriteTimeout: time.Minute})
	adm := adminAddr(t, p)
	cut := make(chan answer, 1)
	go func() { cut <- get(p.PublicAddr(), "/orders/42") }()
	<-began
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := within("Shutdown", func() error { return p.Shutdown(ctx) }); !errors.Is(err, context.DeadlineExceeded) {
		probe.Errorf(t, "profile.deadline", "Shutdown gives %v where an order hangs and its context has ended after 50ms: it should be context.DeadlineExceeded.", err)
	}
	select {
	case <-cut:
	case <-time.After(patience / 2):
		probe.Errorf(t, "profile.deadline", "the order that hangs is not cut when Shutdown gives up.")
	}
	for _, addr := range []net.Addr{p.PublicAddr(), adm} {
		if conn, err := net.DialTimeout("tcp", addr.String(), patience); err == nil {
			conn.Close()
			probe.Errorf(t, "profile.deadline", "%v still takes connections after Shutdown gave up.", addr)
		}
	}
}

func shutdown(t *testing.T, p *admin.Ports) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := within("Shutdown", func() error { return p.Shutdown(ctx) }); err != nil {
		probe.Errorf(t, "profile.shutdown", "Shutdown gives %q where nothing is under way.", err)
	}
}

func eventually(cond func() bool) bool {
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// freeAddr gives an address at which nobody listens now.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
