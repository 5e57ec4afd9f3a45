// finding: shutdown.cut

// Close reads like the counterpart of Serve, and it ends quickly; it also closes the
// connections of orders in flight.

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

const ReadyPath = "/health/ready"

type Pool interface {
	Shutdown(ctx context.Context) error
}

type Config struct {
	Addr     string
	Listener net.Listener
	Handler  http.Handler
	Pool     Pool
	Logger   *slog.Logger
	Drain    time.Duration
	Budget   time.Duration
}

func Run(ctx context.Context, cfg Config) error {
	stopping, restore := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer restore()

	var draining atomic.Bool
	srv := &http.Server{
		Handler:           drained(cfg.Handler, &draining),
		ReadHeaderTimeout: 5 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- serve(srv, cfg) }()

	var failure error
	select {
	case failure = <-served:
		cfg.Logger.Error("server failed, shutting down", "err", failure)
	case <-stopping.Done():
		cfg.Logger.Info("shutting down", "drain", cfg.Drain, "budget", cfg.Budget)
	}
	restore()

	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Budget)
	defer cancel()

	draining.Store(true)
	if failure == nil {
		pause(end, cfg.Drain)
	}
	errServer := srv.Close()
	if errServer != nil {
		cfg.Logger.Error("orders were cut off", "err", errServer, "budget", cfg.Budget)
		srv.Close()
		errServer = fmt.Errorf("lifecycle: server: %w", errServer)
	}
	if failure == nil {
		<-served
	}
	errPool := cfg.Pool.Shutdown(end)
	if errPool != nil {
		cfg.Logger.Error("tasks were left undone", "err", errPool, "budget", cfg.Budget)
		errPool = fmt.Errorf("lifecycle: pool: %w", errPool)
	}
	return errors.Join(failure, errServer, errPool)
}

func serve(srv *http.Server, cfg Config) error {
	ln := cfg.Listener
	if ln == nil {
		var err error
		if ln, err = net.Listen("tcp", cfg.Addr); err != nil {
			return fmt.Errorf("lifecycle: %w", err)
		}
	}
	return fmt.Errorf("lifecycle: %w", srv.Serve(ln))
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func drained(next http.Handler, draining *atomic.Bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !draining.Load() {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Connection", "close")
		if r.URL.Path == ReadyPath {
			http.Error(w, "shutting down", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}
