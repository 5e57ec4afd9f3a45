// finding: wiring.status
// Breaks "work that was cut off is an error of Run" and "status 0 only with nothing left undone": an operators' request that the end of the budget cuts is a warning in the log. Seen: delivered hangs, GET /report on the ops port is under way, BUDGET=2s, SIGTERM: the report breaks off, and dispatchd prints "stopped" and exits with 0.

package dispatchd

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	lifecycle "pitstop/lessons/03_graceful_shutdown"
	admin "pitstop/lessons/15_profiling"
)

// Run starts dispatchd, serves until SIGTERM or SIGINT arrives or ctx ends,
// and stops it. It returns nil when nothing was left undone.
func (s *Service) Run(ctx context.Context) error {
	defer s.Sync()
	debug.SetMemoryLimit(s.Plan.Limit)

	run, fail := context.WithCancelCause(ctx) // says stop
	defer fail(nil)
	work, drop := context.WithCancel(context.WithoutCancel(ctx)) // says drop everything
	defer drop()

	abort := func(err error) error {
		s.Outbox.Close()
		s.Hub.Close()
		end, cancel := context.WithTimeout(work, s.Settings.Budget)
		defer cancel()
		return errors.Join(err, s.Pool.Shutdown(end), s.StopTracing(end))
	}
	web, err := Listen("http", s.Settings.HTTPAddr)
	if err != nil {
		return abort(err)
	}
	scan, err := Listen("scan", s.Settings.ScanAddr)
	if err != nil {
		web.Close()
		return abort(err)
	}
	ports, err := admin.Open(admin.Config{
		Public: s.Settings.OpsAddr, Handler: s.Operators(),
		Admin: s.AdminAddr(), WriteTimeout: 10 * time.Second,
	})
	if err != nil {
		web.Close()
		scan.Close()
		return abort(err)
	}
	announce("ops", ports.PublicAddr())
	if addr := ports.AdminAddr(); addr != nil {
		announce("admin", addr)
	}

	pushed := s.PushSettings(work)
	handled := s.HandleEvents(work)
	scanning, endScanners := context.WithCancel(work)
	defer endScanners()
	scanned := make(chan error, 1)
	go func() {
		err := s.Scanners.Serve(scanning, scan)
		if err != nil {
			fail(err)
		}
		scanned <- err
	}()

	began := make(chan time.Time, 1)
	signalled, restore := signal.NotifyContext(run, syscall.SIGTERM, syscall.SIGINT)
	defer restore()
	context.AfterFunc(signalled, func() {
		restore() // the second signal ends the process
		s.Health.Stopping()
		began <- time.Now()
	})
	s.Health.Started()

	err = lifecycle.Run(run, lifecycle.Config{
		Listener: web, Handler: s.Routes(), Logger: s.Log,
		Drain: s.Settings.Drain, Budget: s.Settings.Budget / 10 * 8,
		Pool: shutdown(func(ctx context.Context) error {
			endScanners()
			s.Feed.Close()
			var errs []error
			errs = append(errs, wait(ctx, "scanners", scanned), wait(ctx, "events", handled))
			if err := s.Pool.Shutdown(ctx); err != nil {
				errs = append(errs, fmt.Errorf("tasks: %w", err))
			}
			s.Outbox.Close()
			return errors.Join(errs...)
		}),
	})
	restore()
	deadline := (<-began).Add(s.Settings.Budget)
	end, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()

	some := func(f func(context.Context) error) {
		part, cancel := context.WithTimeout(end, time.Until(deadline)/3)
		defer cancel()
		err = errors.Join(err, f(part))
	}
	some(func(ctx context.Context) error {
		if err := ports.Shutdown(ctx); err != nil {
			s.Log.Warn("ops port", "err", err)
		}
		return nil
	})
	s.Hub.Close()
	some(func(ctx context.Context) error { return wait(ctx, "depots", pushed) })
	drop()
	if e := s.StopTracing(end); e != nil {
		err = errors.Join(err, fmt.Errorf("traces: %w", e))
	}
	return err
}

type shutdown func(context.Context) error

func (f shutdown) Shutdown(ctx context.Context) error { return f(ctx) }

// wait waits for done, or until ctx ends.
func wait[T any](ctx context.Context, what string, done <-chan T) error {
	select {
	case v := <-done:
		if err, ok := any(v).(error); ok {
			return err
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
}
