// finding: wiring.status
// The pool is given its time, and what it says is not heard.
package dispatchd

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	lifecycle "pitstop/lessons/03_graceful_shutdown"
	admin "pitstop/lessons/15_profiling"
)

// Run starts dispatchd, serves until SIGTERM or SIGINT arrives or ctx ends,
// and stops it. It returns nil when nothing was left undone.
//
// Start: what can fail first, then what works inside, and ready last of all.
// Stop: doors first (depots, then scanners), then the work that came through
// them, in the order in which it flows; then what tells of all that, the
// operators' port and the traces. Signals are lifecycle's business alone.
func (s *Service) Run(ctx context.Context) error {
	debug.SetMemoryLimit(s.Plan.Limit)
	// The last share is for what must outlive the rest.
	last := s.Settings.Budget / 5

	// Nothing of the work hangs on ctx: who is told to stop would drop what
	// others were promised.
	work, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()

	ports, err := admin.Open(admin.Config{
		Public: s.Settings.OpsAddr, Handler: s.Operators(),
		Admin: s.AdminAddr(), WriteTimeout: 10 * time.Second,
	})
	if err != nil {
		return errors.Join(err, s.leave(nil, last))
	}
	announce("ops", ports.PublicAddr())
	if addr := ports.AdminAddr(); addr != nil {
		announce("admin", addr)
	}
	scans, err := Listen("scan", s.Settings.ScanAddr)
	if err != nil {
		return errors.Join(err, s.leave(ports, last))
	}
	web, err := Listen("http", s.Settings.HTTPAddr)
	if err != nil {
		return errors.Join(err, scans.Close(), s.leave(ports, last))
	}

	serving, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	scanning, hangUp := context.WithCancel(work)
	defer hangUp()
	scanned := make(chan struct{})
	go func() {
		defer close(scanned)
		if err := s.Scanners.Serve(scanning, scans); err != nil {
			fail(fmt.Errorf("scan port: %w", err)) // half a service is none
		}
	}()
	s.PushSettings(work)
	handled := s.HandleEvents(work)
	s.Health.Started()

	rest := &rest{time: s.Settings.Budget - s.Settings.Drain - last, stop: func(ctx context.Context) error {
		s.Health.Stopping()
		hangUp()
		err := wait(ctx, "scanners", scanned)
		s.Feed.Close()
		err = errors.Join(err, wait(ctx, "events", handled))
		if e := s.Pool.Shutdown(ctx); e != nil {
			s.Log.Warn("tasks were cut off", "err", e)
		}
		abandon()
		s.Outbox.Close()
		return err
	}}
	err = lifecycle.Run(serving, lifecycle.Config{
		Listener: web, Handler: s.Routes(), Pool: rest, Logger: s.Log,
		Drain: s.Settings.Drain, Budget: s.Settings.Budget - last,
	})
	if cause := context.Cause(serving); cause != nil && ctx.Err() == nil {
		err = errors.Join(err, cause)
	}
	return errors.Join(err, s.leave(ports, last))
}

// leave ends what tells of all the rest.
func (s *Service) leave(ports *admin.Ports, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	s.Hub.Close()
	s.Outbox.Close()
	var err error
	if ports != nil {
		err = ports.Shutdown(ctx)
	}
	err = errors.Join(err, s.StopTracing(ctx))
	s.Sync()
	return err
}

// rest is everything behind the depots' port, as lifecycle knows it: a pool
// that is shut down when the last request has ended.
type rest struct {
	time time.Duration // its share of the budget, whatever the caller's context says
	stop func(context.Context) error
	once sync.Once
	err  error
}

func (r *rest) Shutdown(ctx context.Context) error {
	r.once.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, r.time)
		defer cancel()
		r.err = r.stop(ctx)
	})
	return r.err
}

// wait waits for the end of a part.
func wait(ctx context.Context, name string, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", name, ctx.Err())
	}
}
