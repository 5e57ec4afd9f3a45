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
// takes the phases of the shutdown one after the other.
func Run(ctx context.Context, cfg Config) error {
	d := &daemon{cfg: cfg, broke: make(chan struct{})}
	d.face.Store(&cfg.Handler)
	d.srv = &http.Server{Handler: d, ReadHeaderTimeout: 5 * time.Second}

	asked, giveBack := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer giveBack()
	first := d.serve(asked)

	clock, cancel := context.WithTimeout(context.Background(), cfg.Budget)
	defer cancel()
	d.leave()
	giveBack() // the next signal ends the process
	cfg.Logger.Info("shutting down", "drain", cfg.Drain, "budget", cfg.Budget)

	errs := []error{first}
	for _, phase := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"drain", d.drain},
		{"orders in flight", d.orders},
		{"pool", cfg.Pool.Shutdown},
	} {
		err := phase.do(clock)
		if err == nil {
			continue
		}
		if clock.Err() != nil && !errors.Is(err, clock.Err()) {
			err = errors.Join(err, clock.Err())
		}
		cfg.Logger.Warn("shutdown left something undone", "phase", phase.name, "err", err)
		errs = append(errs, fmt.Errorf("lifecycle: %s: %w", phase.name, err))
	}
	return errors.Join(errs...)
}

type daemon struct {
	cfg      Config
	srv      *http.Server
	face     atomic.Pointer[http.Handler] // who answers
	broke    chan struct{}                // closed when Serve has returned
	serveErr error                        // valid then
	serving  bool
}

func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*d.face.Load()).ServeHTTP(w, r) }

// serve serves until asked ends, or returns why it cannot.
func (d *daemon) serve(asked context.Context) error {
	ln := d.cfg.Listener
	if ln == nil {
		var err error
		if ln, err = net.Listen("tcp", d.cfg.Addr); err != nil {
			close(d.broke)
			return fmt.Errorf("lifecycle: %w", err)
		}
	}
	d.serving = true
	go func() {
		defer close(d.broke)
		d.serveErr = d.srv.Serve(ln)
	}()
	select {
	case <-asked.Done():
	case <-d.broke:
	}
	return nil // orders reports what Serve says
}

// leave makes the service answer as one that goes away.
func (d *daemon) leave() {
	mux := d.cfg.Handler
	var leaving http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		if r.URL.Path == ReadyPath {
			http.Error(w, "shutting down", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	})
	d.face.Store(&leaving)
}

func (d *daemon) drain(clock context.Context) error {
	t := time.NewTimer(d.cfg.Drain)
	defer t.Stop()
	select {
	case <-t.C:
	case <-d.broke: // nobody new can come
	case <-clock.Done():
		return clock.Err()
	}
	return nil
}

func (d *daemon) orders(clock context.Context) error {
	if !d.serving {
		return nil
	}
	err := d.srv.Shutdown(clock)
	if err != nil {
		d.srv.Close()
	}
	<-d.broke
	if !errors.Is(d.serveErr, http.ErrServerClosed) {
		err = errors.Join(d.serveErr, err)
	}
	return err
}
