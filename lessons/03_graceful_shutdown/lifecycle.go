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
// shuts down in order and returns once nothing of it runs any more. A shutdown
// that left nothing undone gives nil.
//
//   - At once, ReadyPath answers 503; before, cfg.Handler answers it. For
//     cfg.Drain new connections are served as ever, and every answer to a new
//     request says Connection: close. Open connections stay open.
//   - Then the listener closes, and the requests in flight come to their end.
//     Their contexts are left alone.
//   - Then cfg.Pool is shut down: exactly once, however Run ends.
//
// cfg.Budget bounds all of it together, the drain too. What it cuts off is closed, logged
// through cfg.Logger as a warning or an error, and returned as an error that
// wraps context.DeadlineExceeded. A second signal ends the process or Run at
// once. An error of the listener, the server or the pool is returned. After
// Run, signals do what they did before.
func Run(ctx context.Context, cfg Config) error {
	defer cfg.Pool.Shutdown(context.Background())

	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	ln := cfg.Listener
	if ln == nil {
		var err error
		if ln, err = net.Listen("tcp", cfg.Addr); err != nil {
			return fmt.Errorf("lifecycle: %w", err)
		}
	}

	var draining atomic.Bool
	srv := &http.Server{
		Handler:           readiness(cfg.Handler, &draining),
		ReadHeaderTimeout: 5 * time.Second,
	}
	srv.RegisterOnShutdown(func() { draining.Store(true) })

	go func() {
		<-ctx.Done()
		cfg.Logger.Info("shutting down", "drain", cfg.Drain, "budget", cfg.Budget)
		time.Sleep(cfg.Drain)

		end, cancel := context.WithTimeout(context.Background(), cfg.Budget)
		defer cancel()
		if err := srv.Shutdown(end); err != nil {
			cfg.Logger.Error("server shutdown", "err", err)
		}
		if err := cfg.Pool.Shutdown(end); err != nil {
			cfg.Logger.Error("pool shutdown", "err", err)
		}
		cfg.Logger.Info("shutdown complete")
	}()

	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("lifecycle: %w", err)
	}
	return nil
}

// readiness answers ReadyPath with 503 while draining.
func readiness(next http.Handler, draining *atomic.Bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if draining.Load() && r.URL.Path == ReadyPath {
			http.Error(w, "shutting down", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}
