// A list of stages under one clock that is a plain cancel: part of the budget is kept for
// the pool, and orders that hang are asked to stop through their base context before they
// are cut off.

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
	"sync"
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

type service struct {
	Config
	srv      *http.Server
	stopping chan struct{}
	begin    func()
}

func Run(ctx context.Context, cfg Config) error {
	s := &service{Config: cfg, stopping: make(chan struct{})}
	s.begin = sync.OnceFunc(func() { close(s.stopping) })
	requests, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	s.srv = &http.Server{
		Handler:     s,
		BaseContext: func(net.Listener) context.Context { return requests },
	}

	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, os.Interrupt, syscall.SIGTERM)
	broken := make(chan error, 1)
	go func() {
		var lc net.ListenConfig
		ln, err := cfg.Listener, error(nil)
		if ln == nil {
			ln, err = lc.Listen(ctx, "tcp", cfg.Addr)
		}
		if err == nil {
			err = s.srv.Serve(ln)
		}
		broken <- err
	}()
	var failed error
	select {
	case <-ctx.Done():
	case <-sigs:
	case failed = <-broken:
	}
	signal.Stop(sigs)

	soft, stopSoft := context.WithCancelCause(context.Background())
	hard, stopHard := context.WithCancelCause(context.Background())
	softly := time.AfterFunc(cfg.Budget*8/10, func() { stopSoft(context.DeadlineExceeded) })
	hardly := time.AfterFunc(cfg.Budget, func() { stopHard(context.DeadlineExceeded) })
	defer softly.Stop()
	defer hardly.Stop()

	s.begin()
	stages := []struct {
		name string
		do   func() error
	}{
		{"drain", func() error {
			if failed != nil {
				return nil
			}
			select {
			case <-time.After(cfg.Drain):
			case <-soft.Done():
			}
			return nil
		}},
		{"server", func() error {
			if s.srv.Shutdown(soft) == nil {
				return nil
			}
			cfg.Logger.Warn("orders are asked to stop", "budget", cfg.Budget)
			abort()
			last, done := context.WithTimeout(hard, cfg.Budget/20)
			defer done()
			s.srv.Shutdown(last)
			s.srv.Close()
			return context.Cause(soft)
		}},
		{"pool", func() error { return cfg.Pool.Shutdown(hard) }},
	}
	errs := []error{failed}
	for _, st := range stages {
		if err := st.do(); err != nil {
			cfg.Logger.Error("not done", "stage", st.name, "err", err)
			errs = append(errs, fmt.Errorf("lifecycle: %s: %w", st.name, err))
		}
	}
	return errors.Join(errs...)
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case <-s.stopping:
		w.Header().Set("Connection", "close")
		if r.URL.Path == ReadyPath {
			http.Error(w, "stopping", http.StatusServiceUnavailable)
			return
		}
	default:
	}
	s.Handler.ServeHTTP(w, r)
}
