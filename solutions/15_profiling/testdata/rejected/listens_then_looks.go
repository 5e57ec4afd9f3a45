// finding: profile.loopback
//
// Listens, and then looks at the address of the listener, which knows best. Until
// then :6060 is open to all. And whoever asks for an address that cannot be had is
// told that, and not that it would not be loopback.

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
	"net/http/pprof"
	"sync"
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
	serving               sync.WaitGroup
}

// Open listens on all ports and serves them in the background. Where one
// cannot be had, it returns an error and leaves none open.
func Open(cfg Config) (*Ports, error) {
	public, err := net.Listen("tcp", cfg.Public)
	if err != nil {
		return nil, err
	}
	var admin net.Listener
	if cfg.Admin != "" {
		if admin, err = listenLocal(cfg.Admin); err != nil {
			public.Close()
			return nil, err
		}
	}

	p := &Ports{publicAddr: public.Addr()}
	p.public = p.serve(public, &http.Server{Handler: answers(cfg), WriteTimeout: cfg.WriteTimeout})
	if admin != nil {
		p.adminAddr = admin.Addr()
		p.admin = p.serve(admin, &http.Server{Handler: profiles()})
	}
	return p, nil
}

// listenLocal listens at an address that nobody else can reach. The listener
// knows best which one that is in the end, whatever name it was given by.
func listenLocal(address string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	if tcp, ok := ln.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		ln.Close()
		return nil, fmt.Errorf("%w: %q", ErrNotLoopback, address)
	}
	return ln, nil
}

// answers is what the public port serves. The TimeoutHandler answers in time
// where the handler does not.
func answers(cfg Config) http.Handler {
	if cfg.Handler == nil {
		return http.NotFoundHandler()
	}
	return http.TimeoutHandler(cfg.Handler, cfg.WriteTimeout, "took too long")
}

// profiles serves net/http/pprof, on a mux of its own.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

func (p *Ports) serve(ln net.Listener, s *http.Server) *http.Server {
	p.serving.Go(func() { s.Serve(ln) })
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
	err := p.public.Shutdown(ctx)
	if err != nil {
		p.public.Close() // cuts the rest
	}
	if p.admin != nil {
		p.admin.Close()
	}
	p.serving.Wait()
	return err
}
