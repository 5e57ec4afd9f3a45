// Package admin opens the ports of dispatchd: the public one, and one for the
// profiles of net/http/pprof, which tell whoever may read them how the service
// is built, what it is doing, and how it was started.
package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	_ "net/http/pprof" // registers /debug/pprof/
	"time"
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
	public, admin         *http.Server
	publicAddr, adminAddr net.Addr
}

// Open listens on all ports and serves them in the background. Where one
// cannot be had, it returns an error and leaves none open.
func Open(cfg Config) (*Ports, error) {
	mux := http.NewServeMux()
	if cfg.Handler != nil {
		mux.Handle("/", cfg.Handler)
	}
	mux.Handle("/debug/", http.DefaultServeMux) // what packages register when they are imported

	p := &Ports{}
	public, err := net.Listen("tcp", cfg.Public)
	if err != nil {
		return nil, err
	}
	p.publicAddr = public.Addr()
	p.public = serve(public, mux, cfg)

	if cfg.Admin != "" {
		_, port, err := net.SplitHostPort(cfg.Admin)
		if err != nil {
			return nil, err
		}
		// The port-forward has to get through to it.
		admin, err := net.Listen("tcp", net.JoinHostPort("", port))
		if err != nil {
			slog.Warn("no profiles", "err", err)
			return p, nil
		}
		p.adminAddr = admin.Addr()
		p.admin = serve(admin, http.DefaultServeMux, cfg)
	}
	return p, nil
}

// serve answers what comes in at ln. No client can hold an answer for longer
// than the WriteTimeout, and no handler either.
func serve(ln net.Listener, h http.Handler, cfg Config) *http.Server {
	s := &http.Server{
		Handler:      http.TimeoutHandler(h, cfg.WriteTimeout, "took too long"),
		WriteTimeout: cfg.WriteTimeout,
	}
	go s.Serve(ln)
	return s
}

// PublicAddr is where the public port listens.
func (p *Ports) PublicAddr() net.Addr { return p.publicAddr }

// AdminAddr is where the profiles are served, or nil where they are not.
func (p *Ports) AdminAddr() net.Addr { return p.adminAddr }

// Shutdown closes the ports. It waits for the public requests that have begun;
// when ctx ends first, it cuts them and returns an error that wraps ctx.Err().
// Profiles can be had until then, and are not waited for: one that is under way
// is broken off. After Shutdown both ports are closed, whatever it returns. It
// may be called again.
func (p *Ports) Shutdown(ctx context.Context) error {
	if p.admin != nil {
		defer p.admin.Close()
	}
	return p.public.Shutdown(ctx)
}
