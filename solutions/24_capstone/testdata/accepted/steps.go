package dispatchd

import (
	"context"
	"errors"
	"fmt"
	"net"
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

	// What must outlive the signal hangs on life, and only the beginning of the
	// end on ctx.
	life := context.WithoutCancel(ctx)
	ctx, restore := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer restore()
	defer context.AfterFunc(ctx, func() {
		restore() // from here on, a signal ends the process
		s.Health.Stopping()
	})()

	last := []step{
		{"outbox", 88, func(ctx context.Context) error { return wait(ctx, background(s.Outbox.Close), nil) }},
		{"traces", 97, s.StopTracing},
	}
	web, scan, ports, err := s.open()
	if err != nil {
		return errors.Join(err, s.stop(last, time.Now().Add(s.Settings.Budget)))
	}

	scanning, endScanners := context.WithCancel(life)
	defer endScanners()
	pushing, cutSettings := context.WithCancel(life)
	defer cutSettings()
	handling, cutEvents := context.WithCancel(life)
	defer cutEvents()

	pushed := s.PushSettings(pushing)
	handled := s.HandleEvents(handling)
	broken := make(chan error, 1)
	scanned := background(func() {
		if err := s.Scanners.Serve(scanning, scan); err != nil {
			s.Log.Error("no scanners any more", "err", err)
			broken <- fmt.Errorf("scan port: %w", err)
			restore() // ends ctx too, as a signal would
		}
	})
	s.Health.Started()

	// Requests have six tenths of what follows the drain, so that one which
	// hangs does not take the time of all that was promised to others.
	requests := min(s.Settings.Budget, s.Settings.Drain+max(s.Settings.Budget-s.Settings.Drain, 0)*6/10)
	err = lifecycle.Run(ctx, lifecycle.Config{
		Listener: web, Handler: s.Routes(), Logger: s.Log,
		Drain: s.Settings.Drain, Budget: requests,
		Pool: afterRequests(func(end context.Context) error {
			s.Health.Stopping() // nothing else has said so where the server broke
			deadline := time.Now()
			if d, ok := end.Deadline(); ok {
				deadline = d
			}
			return s.stop(append([]step{
				// Scanners hang up at the end of a shift, so their connections
				// have to be ended.
				{"scanners", 20, func(ctx context.Context) error { endScanners(); return wait(ctx, scanned, nil) }},
				{"operators", 40, ports.Shutdown},
				// No more settings can come now.
				{"settings", 50, func(ctx context.Context) error { s.Hub.Close(); return wait(ctx, pushed, cutSettings) }},
				// Nor events; and the work on those that came goes on meanwhile.
				{"events", 75, func(ctx context.Context) error { s.Feed.Close(); return wait(ctx, handled, cutEvents) }},
				{"pool", 80, s.Pool.Shutdown},
			}, last...), deadline.Add(s.Settings.Budget-requests))
		}),
	})
	select {
	case cause := <-broken:
		err = errors.Join(cause, err)
	default:
	}
	return err
}

// open opens all ports, or none. The operators' is served at once.
func (s *Service) open() (web, scan net.Listener, ports *admin.Ports, err error) {
	if web, err = Listen("http", s.Settings.HTTPAddr); err != nil {
		return nil, nil, nil, err
	}
	if scan, err = Listen("scan", s.Settings.ScanAddr); err != nil {
		web.Close()
		return nil, nil, nil, err
	}
	ports, err = admin.Open(admin.Config{
		Public: s.Settings.OpsAddr, Handler: s.Operators(),
		Admin: s.AdminAddr(), WriteTimeout: 10 * time.Second,
	})
	if err != nil {
		web.Close()
		scan.Close()
		return nil, nil, nil, err
	}
	announce("ops", ports.PublicAddr())
	if addr := ports.AdminAddr(); addr != nil {
		announce("admin", addr)
	}
	return web, scan, ports, nil
}

// afterRequests stops what requests leave behind, in the place of a pool.
type afterRequests func(context.Context) error

func (f afterRequests) Shutdown(ctx context.Context) error { return f(ctx) }

// step is one part's end. It may take until so many hundredths of the time are
// over: each step has a bit that no step before it can take away.
type step struct {
	name  string
	until time.Duration // of 100
	stop  func(context.Context) error
}

// stop takes the steps in order, each of them, in time for the deadline.
func (s *Service) stop(steps []step, deadline time.Time) error {
	began := time.Now()
	var all []error
	for _, step := range steps {
		ctx, cancel := context.WithDeadline(context.Background(), began.Add(deadline.Sub(began)/100*step.until))
		if err := step.stop(ctx); err != nil {
			s.Log.Error("cut off", "part", step.name, "err", err)
			all = append(all, fmt.Errorf("%s: %w", step.name, err))
		}
		cancel()
	}
	return errors.Join(all...)
}

// background calls f and tells when it has returned.
func background(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}

// wait waits until done, or cuts off what is not done when ctx ends.
func wait(ctx context.Context, done <-chan struct{}, cut func()) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done: // both
		return nil
	default:
	}
	if cut != nil {
		cut()
		select {
		case <-done:
		case <-time.After(20 * time.Millisecond): // it ends soon, not at once
		}
	}
	return ctx.Err()
}
