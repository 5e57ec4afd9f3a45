// The shape as shipped, mended with little: Serve stays in the foreground, context.AfterFunc
// does the shutdown, and Run waits for it. The pool belongs to one defer.

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

func Run(ctx context.Context, cfg Config) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	budget := context.Background()
	defer func() {
		end, cancel := context.WithTimeout(budget, cfg.Budget)
		defer cancel()
		err = errors.Join(err, cfg.Pool.Shutdown(end))
	}()

	ln := cfg.Listener
	if ln == nil {
		if ln, err = net.Listen("tcp", cfg.Addr); err != nil {
			return err
		}
	}
	var draining atomic.Bool
	srv := &http.Server{Handler: wrap(cfg.Handler, &draining)}
	result := make(chan error, 1)
	abandon := context.AfterFunc(ctx, func() {
		stop()
		end, cancel := context.WithTimeout(context.Background(), cfg.Budget)
		context.AfterFunc(end, cancel)
		budget = end
		draining.Store(true)
		t := time.NewTimer(cfg.Drain)
		defer t.Stop()
		select {
		case <-t.C:
		case <-end.Done():
		}
		err := srv.Shutdown(end)
		if err != nil {
			cfg.Logger.Warn("orders cut off", "err", err)
			srv.Close()
		}
		result <- err
	})
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		if abandon() {
			srv.Close()
			return fmt.Errorf("serve: %w", err)
		}
		return errors.Join(err, <-result)
	}
	return <-result
}

func wrap(next http.Handler, draining *atomic.Bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if draining.Load() {
			w.Header().Set("Connection", "close")
			if r.URL.Path == ReadyPath {
				http.Error(w, "draining", http.StatusServiceUnavailable)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
