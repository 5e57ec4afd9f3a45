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
// shuts down. A watchdog keeps the budget: it closes what is still there.
func Run(ctx context.Context, cfg Config) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	clock := newBudget(cfg.Budget)
	defer func() {
		clock.start()
		defer clock.cancel()
		stop()
		if perr := cfg.Pool.Shutdown(clock.ctx); perr != nil {
			cfg.Logger.Error("pool shutdown", "err", perr)
			if cut := clock.ctx.Err(); cut != nil && !errors.Is(perr, cut) {
				perr = errors.Join(perr, cut)
			}
			err = errors.Join(err, fmt.Errorf("lifecycle: pool: %w", perr))
		}
	}()

	ln := cfg.Listener
	if ln == nil {
		if ln, err = net.Listen("tcp", cfg.Addr); err != nil {
			return fmt.Errorf("lifecycle: %w", err)
		}
	}
	var draining atomic.Bool
	srv := &http.Server{Handler: readiness(cfg.Handler, &draining), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan struct{})
	var serveErr error
	go func() {
		defer close(served)
		if e := srv.Serve(ln); !errors.Is(e, http.ErrServerClosed) {
			serveErr = fmt.Errorf("lifecycle: %w", e)
		}
	}()

	select {
	case <-ctx.Done():
	case <-served:
	}
	draining.Store(true)
	clock.start()
	stop()
	cfg.Logger.Info("shutting down", "drain", cfg.Drain, "budget", cfg.Budget)

	// quiet says that no connection is left, which the watchdog may have to see to.
	var cut error
	watchdog := make(chan struct{})
	unwatch := context.AfterFunc(clock.ctx, func() {
		defer close(watchdog)
		cut = fmt.Errorf("lifecycle: shutdown: %w", clock.ctx.Err())
		cfg.Logger.Error("the budget is spent, closing what is left", "budget", cfg.Budget)
		srv.Close()
		<-served
		srv.Close() // what Serve accepted meanwhile
	})
	sleep := time.NewTimer(cfg.Drain)
	defer sleep.Stop()
	select {
	case <-sleep.C:
	case <-served:
	}
	// Not bounded itself: Close leaves it no connection to wait for.
	shutErr := srv.Shutdown(context.Background())
	<-served
	if !unwatch() {
		<-watchdog
	}
	if shutErr != nil && cut == nil {
		cut = fmt.Errorf("lifecycle: shutdown: %w", shutErr)
	}
	return errors.Join(serveErr, cut)
}

// budget is a clock that starts once.
type budget struct {
	limit  time.Duration
	ctx    context.Context
	cancel context.CancelFunc
}

func newBudget(limit time.Duration) *budget { return &budget{limit: limit} }

func (b *budget) start() {
	if b.ctx == nil {
		b.ctx, b.cancel = context.WithTimeout(context.Background(), b.limit)
	}
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
