package dispatchd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	lifecycle "pitstop/lessons/03_graceful_shutdown"
	admin "pitstop/lessons/15_profiling"
)

// Run starts dispatchd, serves until SIGTERM or SIGINT arrives or ctx ends,
// and stops it. It returns nil when nothing was left undone.
//
// Run is the supervisor: it alone knows what runs and how far the end has come.
// Everything else runs in goroutines that tell it when they end, and why.
func (s *Service) Run(ctx context.Context) error {
	defer s.Sync()
	debug.SetMemoryLimit(s.Plan.Limit)

	ctx, restore := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer restore()
	life := context.WithoutCancel(ctx) // what outlives the signal

	v := &supervisor{ends: make(chan end, 8), running: map[string]context.CancelFunc{}, log: s}
	web, scan, ports, err := s.ports()
	if err != nil {
		v.errs = append(v.errs, err)
		v.deadline = time.Now().Add(s.Settings.Budget)
		return s.last(life, v)
	}

	// Work that waits for more. It is running, and nobody waits for it yet.
	queries := &queries{ln: scan, serve: s.Scanners.ServeConn, log: s.Log, conns: map[*query]bool{}}
	v.start(life, "scanners", queries.run)
	v.start(life, "events", func(ctx context.Context) error { <-s.HandleEvents(ctx); return nil })
	v.start(life, "settings", func(ctx context.Context) error { <-s.PushSettings(ctx); return nil })
	s.Health.Started()

	// Half of what follows the drain is for requests that end late, and the
	// rest is for what they leave behind.
	requests := min(s.Settings.Drain+max(0, s.Settings.Budget-s.Settings.Drain)/2, s.Settings.Budget)
	noMore := make(handover, 1)
	v.start(ctx, "http", func(ctx context.Context) error {
		return lifecycle.Run(ctx, lifecycle.Config{
			Listener: web, Handler: s.Routes(), Pool: noMore, Logger: s.Log,
			Drain: s.Settings.Drain, Budget: requests,
		})
	})

	// First stage: serve, until the requests are at their end. Whatever ends
	// before has broken, and takes all with it.
	stop := ctx.Done()
	for v.running["http"] != nil {
		select {
		case <-stop:
			restore() // a second signal ends the process
			s.Health.Stopping()
			stop = nil
		case e := <-v.ends:
			v.ended(e)
			s.Health.Stopping()
			v.cut("http") // ends the serving, in order
		}
	}
	restore()
	select {
	case t := <-noMore:
		v.deadline = t.Add(s.Settings.Budget - requests)
	default: // it broke so early that there was no shutdown
		v.deadline = time.Now().Add(s.Settings.Budget - requests)
	}

	// Second stage: what was promised, side by side.
	s.Feed.Close()
	queries.leave()
	v.start(life, "pool", s.Pool.Shutdown)
	v.start(life, "operators", ports.Shutdown)
	v.await(s.share(v, 75), "pool", "operators", "events", "scanners")
	// Third: what those pushed to until now.
	s.Hub.Close()
	v.await(s.share(v, 40), "settings")
	return s.last(life, v)
}

// last stops what no other part can do without.
func (s *Service) last(ctx context.Context, v *supervisor) error {
	v.start(ctx, "outbox", func(context.Context) error { s.Outbox.Close(); return nil })
	v.await(s.share(v, 20), "outbox")
	v.start(ctx, "traces", s.StopTracing)
	v.await(s.share(v, 95), "traces")
	return errors.Join(v.errs...)
}

// share is the moment when so many hundredths of the remaining time are over.
func (s *Service) share(v *supervisor, percent time.Duration) time.Time {
	return time.Now().Add(max(0, time.Until(v.deadline)) / 100 * percent)
}

// ports opens all of them or none.
func (s *Service) ports() (web, scan net.Listener, ops *admin.Ports, err error) {
	var opened []net.Listener
	defer func() {
		if err != nil {
			for _, ln := range opened {
				ln.Close()
			}
		}
	}()
	if web, err = Listen("http", s.Settings.HTTPAddr); err != nil {
		return
	}
	opened = append(opened, web)
	if scan, err = Listen("scan", s.Settings.ScanAddr); err != nil {
		return
	}
	opened = append(opened, scan)
	ops, err = admin.Open(admin.Config{
		Public: s.Settings.OpsAddr, Handler: s.Operators(),
		Admin: s.AdminAddr(), WriteTimeout: 10 * time.Second,
	})
	if err != nil {
		return
	}
	announce("ops", ops.PublicAddr())
	if addr := ops.AdminAddr(); addr != nil {
		announce("admin", addr)
	}
	return
}

// handover takes the place of the pool: it tells when the time for requests
// ends, and leaves the rest to the supervisor.
type handover chan time.Time

func (h handover) Shutdown(ctx context.Context) error {
	t, ok := ctx.Deadline()
	if !ok {
		t = time.Now()
	}
	h <- t
	return nil
}

// end is how one part ended.
type end struct {
	name string
	err  error
}

// supervisor is used by one goroutine. Only ends is for the others.
type supervisor struct {
	ends     chan end                      // with room for all parts: one that was given up ends later
	running  map[string]context.CancelFunc // and what cuts it off
	errs     []error
	deadline time.Time
	log      *Service
}

// start runs a part in a goroutine of its own. The part ends soon after ctx.
func (v *supervisor) start(ctx context.Context, name string, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(ctx)
	v.running[name] = cancel
	go func() { v.ends <- end{name, f(ctx)} }()
}

// cut ends the context of a part that is still running.
func (v *supervisor) cut(name string) {
	if cancel := v.running[name]; cancel != nil {
		cancel()
	}
}

// ended takes note of an end.
func (v *supervisor) ended(e end) {
	v.cut(e.name)
	delete(v.running, e.name)
	if e.err != nil {
		v.log.Log.Error("part failed", "part", e.name, "err", e.err)
		v.errs = append(v.errs, fmt.Errorf("%s: %w", e.name, e.err))
	}
}

// await waits for the end of parts. At the given time it cuts off those that
// are left, and gives them a moment.
func (v *supervisor) await(until time.Time, names ...string) {
	left := func() (list []string) {
		for _, name := range names {
			if v.running[name] != nil {
				list = append(list, name)
			}
		}
		return list
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for len(left()) > 0 {
		select {
		case e := <-v.ends:
			v.ended(e)
			continue
		default:
		}
		select {
		case e := <-v.ends:
			v.ended(e)
		case <-timer.C:
			v.errs = append(v.errs, fmt.Errorf("no time for %s: %w", strings.Join(left(), ", "), context.DeadlineExceeded))
			v.log.Log.Error("cut off", "parts", left())
			for _, name := range left() {
				v.cut(name)
			}
			moment := time.NewTimer(50 * time.Millisecond)
			defer moment.Stop()
			for len(left()) > 0 {
				select {
				case e := <-v.ends:
					v.ended(e)
				case <-moment.C:
					return
				}
			}
		}
	}
}

// queries serves the scanners. Unlike scanner.Server.Serve it can let go of
// each scanner when that has its answers.
type queries struct {
	ln    net.Listener
	serve func(context.Context, net.Conn) error
	log   *slog.Logger

	mu      sync.Mutex
	leaving bool
	conns   map[*query]bool
}

// run accepts scanners until leave is called, and returns when all have gone.
func (q *queries) run(ctx context.Context) error {
	var served sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer served.Wait() // they end by themselves, or because ctx does
	defer context.AfterFunc(ctx, func() { q.ln.Close() })()
	for {
		conn, err := q.ln.Accept()
		if err != nil {
			q.mu.Lock()
			leaving := q.leaving
			q.mu.Unlock()
			if leaving || ctx.Err() != nil {
				return nil
			}
			cancel() // a broken port ends the connections too
			return fmt.Errorf("accept: %w", err)
		}
		own, hangUp := context.WithCancel(ctx)
		c := &query{Conn: conn, all: q, hangUp: hangUp}
		if !q.add(c) {
			hangUp()
			conn.Close()
			continue
		}
		served.Go(func() {
			defer hangUp()
			defer q.remove(c)
			if err := q.serve(own, c); err != nil {
				q.log.Warn("scanner connection broke", "addr", conn.RemoteAddr(), "err", err)
			}
		})
	}
}

func (q *queries) add(c *query) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.leaving {
		q.conns[c] = true
	}
	return !q.leaving
}

func (q *queries) remove(c *query) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.conns, c)
}

// leave takes no more scanners, and hangs up on those that wait for nothing;
// on the others as soon as they do.
func (q *queries) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.leaving = true
	for c := range q.conns {
		if c.waits == 0 {
			c.hangUp()
		}
	}
	q.ln.Close()
}

// query is a scanner that waits for so many answers.
type query struct {
	net.Conn
	all    *queries
	waits  int // guarded by all.mu
	hangUp context.CancelFunc
}

func (c *query) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		c.all.mu.Lock()
		leaving := c.all.leaving
		if !leaving {
			c.waits += bytes.Count(b[:n], []byte{'\n'})
		}
		c.all.mu.Unlock()
		switch {
		case !leaving:
			return n, err
		case err != nil:
			return 0, err
		}
	}
}

func (c *query) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.waits -= bytes.Count(b[:n], []byte{'\n'})
	if c.waits <= 0 && c.all.leaving {
		c.hangUp()
	}
	return n, err
}
