package dispatchd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	lifecycle "pitstop/lessons/03_graceful_shutdown"
	admin "pitstop/lessons/15_profiling"
)

// Run starts dispatchd, serves until SIGTERM or SIGINT arrives or ctx ends,
// and stops it. It returns nil when nothing was left undone.
//
// The doors run in a group: when one breaks, the others are asked to stop. What
// is behind them is stopped by a second group, side by side, when the last
// request has ended. The traces come last, with time that is kept for them.
func (s *Service) Run(ctx context.Context) error {
	defer s.Sync()
	debug.SetMemoryLimit(s.Plan.Limit)

	ctx, restore := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer restore()
	defer context.AfterFunc(ctx, restore)() // a second signal ends the process

	p := &parts{Service: s, reserve: s.Settings.Budget / 10}
	err := p.serve(ctx)
	if p.deadline.IsZero() { // no door was ever open
		p.deadline = time.Now().Add(s.Settings.Budget)
		s.Outbox.Close()
	}
	end, cancel := context.WithDeadline(context.WithoutCancel(ctx), p.deadline)
	defer cancel()
	return errors.Join(err, p.named("traces", s.StopTracing(end)))
}

// parts is what has to end after the last request, in the place of a pool.
type parts struct {
	*Service
	reserve time.Duration // for each of the two stages that follow the requests

	scans           *lineListener
	ops             *admin.Ports
	handled, pushed <-chan struct{}

	// What cuts them off. For scanners that is the only end there is.
	cutEvents, cutSettings, cutScanners context.CancelFunc

	deadline time.Time // of the whole shutdown, when that has begun
}

// serve opens all doors and serves them until ctx ends or one of them breaks.
func (p *parts) serve(ctx context.Context) error {
	web, err := Listen("http", p.Settings.HTTPAddr)
	if err != nil {
		return err
	}
	scans, err := Listen("scan", p.Settings.ScanAddr)
	if err != nil {
		return errors.Join(err, web.Close())
	}
	p.ops, err = admin.Open(admin.Config{
		Public: p.Settings.OpsAddr, Handler: p.Operators(),
		Admin: p.AdminAddr(), WriteTimeout: 10 * time.Second,
	})
	if err != nil {
		return errors.Join(err, web.Close(), scans.Close())
	}
	announce("ops", p.ops.PublicAddr())
	if addr := p.ops.AdminAddr(); addr != nil {
		announce("admin", addr)
	}
	p.scans = &lineListener{Listener: scans, over: make(chan struct{}), none: make(chan struct{})}

	// None of these ends with the signal.
	life := context.WithoutCancel(ctx)
	handling, cutEvents := context.WithCancel(life)
	defer cutEvents()
	pushing, cutSettings := context.WithCancel(life)
	defer cutSettings()
	scanning, cutScanners := context.WithCancel(life)
	defer cutScanners()
	p.cutEvents, p.cutSettings, p.cutScanners = cutEvents, cutSettings, cutScanners
	p.pushed, p.handled = p.PushSettings(pushing), p.HandleEvents(handling)

	doors, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, p.Health.Stopping)()
	var errScan, errWeb error // Wait gives one of them
	doors.Go(func() error {
		errScan = p.named("scan port", p.Scanners.Serve(scanning, p.scans))
		return errScan
	})
	p.Health.Started()
	doors.Go(func() error {
		errWeb = lifecycle.Run(ctx, lifecycle.Config{
			Listener: web, Handler: p.Routes(), Pool: p, Logger: p.Log,
			Drain: p.Settings.Drain, Budget: p.Settings.Budget - 2*p.reserve,
		})
		return errWeb
	})
	_ = doors.Wait()
	return errors.Join(errScan, errWeb)
}

// Shutdown stops all that is behind the doors, and the scanners' and the
// operators' doors themselves. It is called when no request is left, or with
// an end that has passed: a reserve is left for the work then, and one more for
// what was cut off and the traces.
func (p *parts) Shutdown(end context.Context) error {
	p.Health.Stopping()
	requests, ok := end.Deadline()
	if !ok {
		requests = time.Now()
	}
	p.deadline = requests.Add(2 * p.reserve)
	work, cancel := context.WithDeadline(context.WithoutCancel(end), requests.Add(p.reserve))
	defer cancel()

	var errs [4]error
	var stop errgroup.Group // without a context: one that fails ends no other
	part := func(i int, name string, f func() error) {
		stop.Go(func() error {
			errs[i] = p.named(name, f())
			return errs[i]
		})
	}
	part(0, "tasks", func() error {
		err := p.Pool.Shutdown(work)
		p.Outbox.Close() // tasks push to it to their end
		return err
	})
	part(1, "events", func() error {
		p.Feed.Close()
		return wait(work, p.handled, p.cutEvents)
	})
	part(2, "scanners", func() error {
		err := p.scans.Quiet(work)
		p.cutScanners()
		return err
	})
	part(3, "operators", func() error {
		err := p.ops.Shutdown(work)
		p.Hub.Close() // operators publish to it to their end
		return errors.Join(err, wait(work, p.pushed, p.cutSettings))
	})
	_ = stop.Wait()
	return errors.Join(errs[:]...)
}

// named says what an error is about, here and in the log.
func (p *parts) named(part string, err error) error {
	if err == nil {
		return nil
	}
	p.Log.Error("left undone", "part", part, "err", err)
	return fmt.Errorf("%s: %w", part, err)
}

// wait waits until done. When ctx ends it cuts off what is left, which ends soon.
func wait(ctx context.Context, done <-chan struct{}, cut func()) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done: // both at once
		return nil
	default:
		cut()
		<-done
		return ctx.Err()
	}
}

// lineListener counts the lines of scanners that have no reply yet: a
// scanner.Server ends by cutting them off, so it must not end before.
type lineListener struct {
	net.Listener
	over  chan struct{} // closed by Close
	close sync.Once

	mu    sync.Mutex
	quiet bool          // take no more
	open  int           // lines without a reply, of all scanners
	none  chan struct{} // closed when quiet and none are open
}

// Quiet takes no more scanners and no more lines, and waits until those it has
// taken are answered.
func (l *lineListener) Quiet(ctx context.Context) error {
	l.mu.Lock()
	l.quiet = true
	if l.open == 0 {
		close(l.none)
	}
	l.mu.Unlock()
	l.Listener.Close()
	select {
	case <-l.none:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == 0 {
		return nil
	}
	return fmt.Errorf("%d queries cut off: %w", l.open, ctx.Err())
}

// Accept fails where the port is broken. Quiet alone does not make it fail.
func (l *lineListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		return &lineConn{Conn: c, l: l}, nil
	}
	l.mu.Lock()
	quiet := l.quiet
	l.mu.Unlock()
	if quiet {
		<-l.over
	}
	return nil, err
}

// Close is Serve's to call, when its context has ended.
func (l *lineListener) Close() error {
	l.close.Do(func() { close(l.over) })
	return l.Listener.Close()
}

// take counts lines that c has sent, unless it is too late for them.
func (l *lineListener) take(c *lineConn, lines int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.quiet {
		return false
	}
	if !c.closed {
		c.open += lines
		l.open += lines
	}
	return true
}

// done takes lines of c off again.
func (l *lineListener) done(c *lineConn, lines int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines = min(lines, c.open)
	c.open -= lines
	l.open -= lines
	if lines > 0 && l.open == 0 && l.quiet {
		close(l.none)
	}
}

type lineConn struct {
	net.Conn
	l *lineListener

	// l.mu guards these.
	open   int // its lines without a reply
	closed bool
}

// Read throws away what comes too late, and reads on: so it is still noticed
// when a scanner hangs up.
func (c *lineConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if c.l.take(c, bytes.Count(b[:n], []byte("\n"))) {
			return n, err
		}
		if err != nil {
			return 0, err
		}
	}
}

func (c *lineConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.l.done(c, bytes.Count(b[:n], []byte("\n")))
	return n, err
}

// Close gives up what has no reply: the scanner has hung up, or it is cut off.
func (c *lineConn) Close() error {
	c.l.mu.Lock()
	c.closed = true
	c.l.mu.Unlock()
	c.l.done(c, math.MaxInt)
	return c.Conn.Close()
}
