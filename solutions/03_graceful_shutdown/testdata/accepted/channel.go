// One loop over a signal channel, a stage at a time. A second signal makes Run itself close
// the server and return an error.

package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
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

var errForced = errors.New("lifecycle: stopped by a second signal")

func Run(ctx context.Context, cfg Config) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	ln, err := listen(cfg)
	if err != nil {
		return errors.Join(err, stopPool(cfg, cfg.Budget))
	}
	var closing atomic.Bool
	mux := http.NewServeMux()
	mux.Handle("/", cfg.Handler)
	mux.HandleFunc(ReadyPath, func(w http.ResponseWriter, r *http.Request) {
		if closing.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		cfg.Handler.ServeHTTP(w, r)
	})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if closing.Load() {
			w.Header().Set("Connection", "close")
		}
		mux.ServeHTTP(w, r)
	})}
	defer srv.Close()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()

	select {
	case err := <-served:
		return errors.Join(fmt.Errorf("lifecycle: %w", err), srv.Close(), stopPool(cfg, cfg.Budget))
	case s := <-signals:
		cfg.Logger.Info("signal", "signal", s)
	case <-ctx.Done():
		cfg.Logger.Info("context ended")
	}

	over := time.Now().Add(cfg.Budget)
	closing.Store(true)
	select {
	case <-time.After(min(cfg.Drain, cfg.Budget)):
	case <-signals:
		srv.Close()
		<-served
		return errors.Join(errForced, stopPool(cfg, 0))
	}

	end, cancel := context.WithDeadline(context.Background(), over)
	defer cancel()
	forced := make(chan error, 1)
	finished := make(chan struct{})
	go func() {
		defer close(forced)
		select {
		case <-signals:
			forced <- errForced
			cancel()
		case <-finished:
		}
	}()
	err = srv.Shutdown(end)
	if err != nil {
		cfg.Logger.Warn("cut off", "err", err)
		srv.Close()
	}
	<-served
	err = errors.Join(err, cfg.Pool.Shutdown(end))
	close(finished)
	return errors.Join(err, <-forced)
}

func listen(cfg Config) (net.Listener, error) {
	if cfg.Listener != nil {
		return cfg.Listener, nil
	}
	return net.Listen("tcp", cfg.Addr)
}

func stopPool(cfg Config, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return cfg.Pool.Shutdown(ctx)
}
