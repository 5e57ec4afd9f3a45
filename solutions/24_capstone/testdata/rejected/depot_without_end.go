// finding: wiring.budget
// Breaks "Budget bounds the whole shutdown, whatever hangs outside": Hub.Close is trusted to end PushSettings, but a PUT to a depot that hangs ends only with its context, which is cancelled after the wait. Seen: depot_1 hangs, PUT /settings (204), SIGTERM with BUDGET=3s: the process never exits (SIGKILL by the kubelet), and the traces are never handed over.

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
	some(ports.Shutdown)
	s.Hub.Close()
	<-pushed // Close ends PushSettings
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
