// finding: signal.kept
//
// Gives the signals back by signal.Reset, which also takes away the handlers
// that the caller had before.

// Package lifecycle takes dispatchd from its first connection to its last.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// ReadyPath is where the load balancer asks whether to send orders here.
const ReadyPath = "/health/ready"

// Pool holds the work that orders leave behind after their answer.
type Pool interface {
	// Shutdown refuses new tasks and waits for those accepted, until ctx ends.
	// It may be called once only.
	Shutdown(ctx context.Context) error
}

// Config is what [Run] needs. Addr counts only where Listener is nil.
type Config struct {
	Addr     string
	Listener net.Listener // Run closes it
	Handler  http.Handler
	Pool     Pool
	Logger   *slog.Logger
	Drain    time.Duration // how long new connections are served after the signal
	Budget   time.Duration // the whole shutdown, from the signal to the return
}

// Run serves cfg.Handler until SIGTERM or SIGINT arrives or ctx ends, then
// shuts down in order and returns once nothing of it runs any more.
func Run(ctx context.Context, cfg Config) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	var draining atomic.Bool
	srv := &http.Server{
		Handler:           readiness(cfg.Handler, &draining),
		ReadHeaderTimeout: 5 * time.Second,
	}
	broken := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		select {
		case <-ctx.Done():
		case <-broken:
		}
		result <- shutdown(cfg, srv, &draining, broken)
	}()

	err := listenAndServe(srv, cfg)
	if errors.Is(err, http.ErrServerClosed) {
		err = nil // Shutdown or Close was called, and may be still at it
	} else {
		err = fmt.Errorf("lifecycle: %w", err)
	}
	close(broken)
	return errors.Join(err, <-result)
}

func listenAndServe(srv *http.Server, cfg Config) error {
	ln := cfg.Listener
	if ln == nil {
		var err error
		if ln, err = net.Listen("tcp", cfg.Addr); err != nil {
			return err
		}
	}
	return srv.Serve(ln)
}

func shutdown(cfg Config, srv *http.Server, draining *atomic.Bool, broken <-chan struct{}) (err error) {
	end, cancel := context.WithTimeout(context.Background(), cfg.Budget)
	defer cancel()
	draining.Store(true)
	signal.Reset(syscall.SIGTERM, syscall.SIGINT) // a second signal ends the process
	cfg.Logger.Info("shutting down", "drain", cfg.Drain, "budget", cfg.Budget)

	note := func(what string, e error) {
		if e == nil {
			return
		}
		if end.Err() != nil && !errors.Is(e, context.DeadlineExceeded) {
			e = fmt.Errorf("%w, %w", end.Err(), e)
		}
		cfg.Logger.Error(what, "err", e)
		err = errors.Join(err, fmt.Errorf("lifecycle: %s: %w", what, e))
	}

	select {
	case <-broken:
	case <-time.After(cfg.Drain):
	case <-end.Done():
		note("drain", end.Err())
	}
	if e := srv.Shutdown(end); e != nil {
		note("server shutdown", e)
		srv.Close()
	}
	note("pool shutdown", cfg.Pool.Shutdown(end))
	cfg.Logger.Info("shutdown complete")
	return err
}

// readiness answers ReadyPath with 503 while draining.
func readiness(next http.Handler, draining *atomic.Bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if draining.Load() {
			w.Header().Set("Connection", "close")
			if r.URL.Path == ReadyPath {
				http.Error(w, "shutting down", http.StatusServiceUnavailable)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
