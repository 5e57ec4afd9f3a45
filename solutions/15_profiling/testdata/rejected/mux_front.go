// finding: profile.handler
//
// A mux stands before the handler, and cleans paths by itself.

// Package admin opens the ports of dispatchd: the public one, and one for the
// profiles of net/http/pprof, which tell whoever may read them how the service
// is built, what it is doing, and how it was started.
package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

// ErrNotLoopback is returned by Open for an Admin address that others could
// reach.
var ErrNotLoopback = errors.New("admin: not a loopback address")

// Config says where dispatchd listens, and what for.
type Config struct {
	Public  string       // address of the public port, as ":8080"
	Handler http.Handler // all that is served there; nil answers 404

	// Admin is the address of the profiles: a host that is loopback, and a port,
	// as "127.0.0.1:6060" or "localhost:6060". Empty means that there are none.
	Admin string

	// WriteTimeout is the longest that a public answer may take; above 0.
	// Profiles take the time that is asked for.
	WriteTimeout time.Duration
}

// Ports are open until Shutdown.
type Ports struct {
	public *port
	admin  *port // nil where there are no profiles
}

// port is a listener and who serves it.
type port struct {
	net.Listener
	server *http.Server
	over   chan struct{} // closed when Serve has returned
}

// Open listens on all ports and serves them in the background. Where one
// cannot be had, it returns an error and leaves none open.
func Open(cfg Config) (*Ports, error) {
	if cfg.Admin != "" {
		if err := checkLoopback(cfg.Admin); err != nil {
			return nil, err
		}
	}
	p := &Ports{}
	var err error
	if p.public, err = listen(cfg.Public); err != nil {
		return nil, err
	}
	if cfg.Admin != "" {
		if p.admin, err = listen(cfg.Admin); err != nil {
			p.public.Close()
			return nil, err
		}
		p.admin.serve(&http.Server{Handler: profiles()})
	}
	h := http.NewServeMux() // ours, and not http.DefaultServeMux
	if cfg.Handler != nil {
		h.Handle("/", cfg.Handler)
	}
	p.public.serve(&http.Server{
		Handler:                      http.TimeoutHandler(h, cfg.WriteTimeout, "took too long"),
		WriteTimeout:                 cfg.WriteTimeout,
		DisableGeneralOptionsHandler: true, // OPTIONS * is for the handler, too
	})
	return p, nil
}

// checkLoopback takes "localhost" and addresses that are loopback, but no other
// name: what that is may change after we have looked.
func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%w: %q", ErrNotLoopback, addr)
	}
	return nil
}

// profiles is what chi's middleware has under /debug, less the variables of
// expvar.
func profiles() http.Handler {
	r := chi.NewRouter()
	r.Handle("/debug/vars", http.NotFoundHandler())
	r.Mount("/debug", middleware.Profiler())
	return r
}

func listen(addr string) (*port, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &port{Listener: ln}, nil
}

func (p *port) serve(s *http.Server) {
	p.server = s
	p.over = make(chan struct{})
	go func() {
		defer close(p.over)
		_ = s.Serve(p.Listener)
	}()
}

// cut closes the port and all connections, and waits for Serve.
func (p *port) cut() {
	_ = p.server.Close()
	_ = p.Close() // where Serve has not begun, the server knows no listener
	<-p.over
}

// PublicAddr is where the public port listens.
func (p *Ports) PublicAddr() net.Addr { return p.public.Addr() }

// AdminAddr is where the profiles are served, or nil where they are not.
func (p *Ports) AdminAddr() net.Addr {
	if p.admin == nil {
		return nil
	}
	return p.admin.Addr()
}

// Shutdown closes the ports. It waits for the public requests that have begun;
// when ctx ends first, it cuts them and returns an error that wraps ctx.Err().
// Profiles can be had until then, and are not waited for: one that is under way
// is broken off. After Shutdown both ports are closed, whatever it returns. It
// may be called again.
func (p *Ports) Shutdown(ctx context.Context) error {
	if p.admin != nil {
		defer p.admin.cut()
	}
	defer p.public.cut()
	_ = p.public.Close() // also where Serve has not begun
	err := p.public.server.Shutdown(ctx)
	if errors.Is(err, net.ErrClosed) {
		return nil // the listener was closed above
	}
	return err
}
