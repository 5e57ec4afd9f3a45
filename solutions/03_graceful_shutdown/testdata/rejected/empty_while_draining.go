// finding: listener.early
//
// The middleware answers while dispatchd drains, and asks nobody else.

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
	case failure = <-served: // nobody has closed the server yet, so it broke
		cfg.Logger.Error("server failed, shutting down", "err", failure)
	case <-stopping.Done():
		cfg.Logger.Info("shutting down", "drain", cfg.Drain, "budget", cfg.Budget)
	}
	restore() // from here on, a signal ends the process

	// ctx may have ended; the shutdown has a life of its own, and one clock.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Budget)
	defer cancel()

	draining.Store(true)
	if failure == nil {
		pause(end, cfg.Drain)
	}
	errServer := srv.Shutdown(end)
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

// serve listens where no listener is given, and serves until srv is closed.
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

// pause waits for d, or for the end of ctx where that comes first.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// drained tells clients to go elsewhere once draining is set: ReadyPath
// answers 503, and any answer ends its connection. SetKeepAlivesEnabled(false)
// would close idle connections too, on which a request may be on its way.
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

	})
}
