package dispatchd

import (
	"context"
	"errors"
	"os/signal"
	"syscall"
	"time"

	lifecycle "pitstop/lessons/03_graceful_shutdown"
	admin "pitstop/lessons/15_profiling"
)

// stopTime is how long a part may take to stop.
const stopTime = 6 * time.Second

// Run starts dispatchd, serves until SIGTERM or SIGINT arrives or ctx ends,
// and stops it. It returns nil when nothing was left undone.
func (s *Service) Run(ctx context.Context) error {
	defer s.Sync()

	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	defer s.StopTracing(ctx)
	defer s.Outbox.Close()
	defer s.Hub.Close()

	s.PushSettings(ctx)
	events := s.HandleEvents(ctx)
	s.Health.Started()

	ports, err := admin.Open(admin.Config{
		Public: s.Settings.OpsAddr, Handler: s.Operators(),
		Admin: s.AdminAddr(), WriteTimeout: 10 * time.Second,
	})
	if err != nil {
		return err
	}
	announce("ops", ports.PublicAddr())
	if addr := ports.AdminAddr(); addr != nil {
		announce("admin", addr)
	}
	closed := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(closed)
		s.Health.Stopping()
		end, cancel := context.WithTimeout(context.Background(), stopTime)
		defer cancel()
		if err := ports.Shutdown(end); err != nil {
			s.Log.Warn("ops port", "err", err)
		}
	})

	go func() {
		ln, err := Listen("scan", s.Settings.ScanAddr)
		if err != nil {
			s.Log.Error("no scanners", "err", err)
			return
		}
		if err := s.Scanners.Serve(ctx, ln); err != nil {
			s.Log.Error("no scanners any more", "err", err)
		}
	}()

	web, err := Listen("http", s.Settings.HTTPAddr)
	if err != nil {
		return err
	}
	err = lifecycle.Run(ctx, lifecycle.Config{
		Listener: web, Handler: s.Routes(), Pool: s.Pool, Logger: s.Log,
		Drain: s.Settings.Drain, Budget: s.Settings.Budget,
	})

	s.Feed.Close()
	select {
	case <-events:
	case <-time.After(stopTime):
		err = errors.Join(err, errors.New("events: not all were handled"))
	}
	stop()
	<-closed
	return err
}
