// finding: profile.left_open
//
// Where the profiles cannot be served, the public port is already open, and stays so.

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
	public, admin         *http.Server // admin is nil without profiles
	publicAddr, adminAddr net.Addr
	serving               sync.WaitGroup
}

// Open listens on all ports and serves them in the background. Where one
// cannot be had, it returns an error and leaves none open.
func Open(cfg Config) (*Ports, error) {
	handler := cfg.Handler
	if handler == nil {
		handler = http.NotFoundHandler() // to a Server, nil is http.DefaultServeMux
	}
	public, err := net.Listen("tcp", cfg.Public)
	if err != nil {
		return nil, fmt.Errorf("admin: public port: %w", err)
	}
	var admin net.Listener
	if cfg.Admin != "" {
		if admin, err = listenLoopback(cfg.Admin); err != nil {

			return nil, fmt.Errorf("admin: profiles: %w", err)
		}
	}

	p := &Ports{publicAddr: public.Addr()}
	p.public = &http.Server{Handler: handler, WriteTimeout: cfg.WriteTimeout}
	p.serve(p.public, public)
	if admin != nil {
		p.adminAddr = admin.Addr()
		p.admin = &http.Server{Handler: profiles()} // no WriteTimeout: a profile takes the time that is asked for
		p.serve(p.admin, admin)
	}
	return p, nil
}

// listenLoopback looks at the address that the name stands for, not at how the
// name begins.
func listenLoopback(address string) (net.Listener, error) {
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	if !addr.IP.IsLoopback() { // no host at all means every interface
		return nil, fmt.Errorf("%w: %s", ErrNotLoopback, address)
	}
	return net.Listen("tcp", addr.String())
}

// profiles has a mux of its own. To import net/http/pprof registers the same
// handlers with http.DefaultServeMux, so that one must not be served.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index) // goroutine, heap and the others, by name
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

func (p *Ports) serve(s *http.Server, ln net.Listener) {
	p.serving.Go(func() { s.Serve(ln) })
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
	p.public.Close()
	if p.admin != nil {
		p.admin.Close()
	}
	p.serving.Wait()
	if err != nil {
		return fmt.Errorf("admin: shutdown: %w", err)
	}
	return nil
}
