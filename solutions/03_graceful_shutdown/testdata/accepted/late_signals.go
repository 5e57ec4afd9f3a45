// Serves first and asks for signals a moment later; swaps the handler at the start of the
// drain; keeps the server's goroutine apart and closes the pool in a defer that shares the
// deadline.

package lifecycle

import (
	"context"
	"errors"
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

func Run(ctx context.Context, cfg Config) (err error) {
	var deadline atomic.Pointer[time.Time]
	defer func() {
		at := time.Now().Add(cfg.Budget)
		if d := deadline.Load(); d != nil {
			at = *d
		}
		end, cancel := context.WithDeadline(context.Background(), at)
		defer cancel()
		err = errors.Join(err, cfg.Pool.Shutdown(end))
	}()
	ln := cfg.Listener
	if ln == nil {
		if ln, err = net.Listen("tcp", cfg.Addr); err != nil {
			return err
		}
	}
	var current atomic.Value
	current.Store(http.HandlerFunc(cfg.Handler.ServeHTTP))
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		current.Load().(http.HandlerFunc)(w, r)
	})}
	failed := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(ln); err != http.ErrServerClosed {
			failed <- err
		}
	}()
	defer func() { <-done }()

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	select {
	case err := <-failed:
		signal.Stop(signals)
		return err
	case <-signals:
	case <-ctx.Done():
	}
	signal.Stop(signals)

	at := time.Now().Add(cfg.Budget)
	deadline.Store(&at)
	end, cancel := context.WithDeadline(context.Background(), at)
	defer cancel()
	current.Store(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		if r.URL.Path == ReadyPath {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		cfg.Handler.ServeHTTP(w, r)
	}))
	for until := time.Now().Add(cfg.Drain); time.Now().Before(until) && end.Err() == nil; {
		time.Sleep(10 * time.Millisecond)
	}
	if err := srv.Shutdown(end); err != nil {
		cfg.Logger.Warn("cut off", "err", err)
		srv.Close()
		return err
	}
	return nil
}
