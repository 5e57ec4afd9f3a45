// An errgroup: one member serves, one waits for the reason to stop and shuts the server
// down; the pool comes after both. The group's context ends with the signal, and with the
// server's error.

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

	"golang.org/x/sync/errgroup"
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
	sig, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var draining atomic.Bool
	srv := &http.Server{
		Addr: cfg.Addr,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if draining.Load() {
				w.Header().Set("Connection", "close")
				if r.URL.Path == ReadyPath {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
			}
			cfg.Handler.ServeHTTP(w, r)
		}),
	}

	var end context.Context
	cancel := context.CancelFunc(func() {})
	defer func() { cancel() }()
	g, gctx := errgroup.WithContext(sig)
	g.Go(func() error {
		err := error(nil)
		if cfg.Listener != nil {
			err = srv.Serve(cfg.Listener)
		} else {
			err = srv.ListenAndServe()
		}
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return fmt.Errorf("serve: %w", err)
	})
	g.Go(func() error {
		<-gctx.Done()
		stop()
		draining.Store(true)
		end, cancel = context.WithTimeout(context.WithoutCancel(ctx), cfg.Budget)
		wait, done := context.WithTimeout(end, cfg.Drain)
		defer done()
		<-wait.Done()
		if err := srv.Shutdown(end); err != nil {
			cfg.Logger.Error("shutdown", "err", err)
			return errors.Join(fmt.Errorf("shutdown: %w", err), srv.Close())
		}
		return nil
	})
	err := g.Wait()
	if perr := cfg.Pool.Shutdown(end); perr != nil {
		err = errors.Join(err, fmt.Errorf("pool: %w", perr))
	}
	return err
}
