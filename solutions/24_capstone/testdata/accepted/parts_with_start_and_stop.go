package dispatchd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/signal"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
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

	ctx, cancel := context.WithCancel(ctx) // also ends when a part breaks
	defer cancel()
	ctx, restore := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer restore()
	defer context.AfterFunc(ctx, func() {
		restore() // a second signal finds nobody, and ends the process
		s.Health.Stopping()
	})()

	// In the order of starting: each part may use those before it, to its own
	// end, and they are stopped in reverse.
	m := &machine{Service: s, broke: cancel, slice: s.Settings.Budget / 20}
	err := m.start(&tracing{s}, &phones{s}, &tasks{s}, &events{s: s}, &depots{s: s}, &operators{s: s}, &scanners{s: s})
	var web net.Listener
	if err == nil {
		web, err = Listen("http", s.Settings.HTTPAddr)
	}
	if err != nil {
		return errors.Join(err, m.stop(time.Now().Add(s.Settings.Budget)))
	}
	s.Health.Started()
	err = lifecycle.Run(ctx, lifecycle.Config{
		Listener: web, Handler: s.Routes(), Pool: m, Logger: s.Log,
		Drain: s.Settings.Drain, Budget: s.Settings.Budget - m.kept(),
	})
	return errors.Join(err, m.failure())
}

// part is something that is started and stopped.
type part interface {
	// Start returns at once. Fail is for what breaks later; its contexts must
	// not end by themselves.
	Start(fail func(error)) error

	// Stop ends it, in order if there is time and otherwise by force, and tells
	// what was cut off.
	Stop(ctx context.Context) error
}

// machine starts parts, and stops them when the requests have ended: it takes
// the place of the pool, which is one of the parts.
type machine struct {
	*Service
	broke   func()
	slice   time.Duration // what each part has to stop, whatever those before it take
	started []part

	mu     sync.Mutex
	failed error
}

func (m *machine) start(parts ...part) error {
	for _, p := range parts {
		err := p.Start(func(err error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.failed = errors.Join(m.failed, err)
			m.Log.Error("shutting down", "err", err)
			m.broke()
		})
		m.started = append(m.started, p) // one that did not start can be stopped too
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed
}

// kept is how much of the budget is no request's.
func (m *machine) kept() time.Duration { return m.slice * time.Duration(len(m.started)) }

// Shutdown is called when the requests have ended, or their time has.
func (m *machine) Shutdown(ctx context.Context) error {
	m.Health.Stopping()
	requests, ok := ctx.Deadline()
	if !ok {
		requests = time.Now()
	}
	return m.stop(requests.Add(m.kept()))
}

// stop stops the parts in reverse. Each may take what is left, but for a slice
// for each that comes after it. They all work on while they wait for their turn.
func (m *machine) stop(deadline time.Time) error {
	var all []error
	for i, p := range slices.Backward(m.started) {
		ctx, cancel := context.WithDeadline(context.Background(), deadline.Add(-m.slice*time.Duration(i)-m.slice/4))
		if err := p.Stop(ctx); err != nil {
			m.Log.Error("left undone", "err", err)
			all = append(all, err)
		}
		cancel()
	}
	return errors.Join(all...)
}

// ending is a channel that is closed when something has ended, and the cancel
// function that makes it.
type ending struct {
	done <-chan struct{}
	cut  context.CancelFunc
}

// wait waits for the end, and enforces it when ctx ends.
func (e ending) wait(ctx context.Context, what string) error {
	if e.done == nil {
		return nil // never started
	}
	defer e.cut()
	select {
	case <-e.done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-e.done:
		return nil
	default:
	}
	e.cut()
	<-e.done // soon
	return fmt.Errorf("%s: %w", what, ctx.Err())
}

// tracing hands over the spans of all that stopped before it.
type tracing struct{ *Service }

func (*tracing) Start(func(error)) error { return nil }

func (t *tracing) Stop(ctx context.Context) error {
	if err := t.StopTracing(ctx); err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	return nil
}

// phones is the outbox. What it has not sent is lost, and that is no error.
type phones struct{ *Service }

func (*phones) Start(func(error)) error { return nil }

func (p *phones) Stop(context.Context) error {
	p.Outbox.Close()
	return nil
}

// tasks is the pool. Tasks know no end but their own: those that are left when
// ctx ends are given up.
type tasks struct{ *Service }

func (*tasks) Start(func(error)) error { return nil }

func (p *tasks) Stop(ctx context.Context) error {
	if err := p.Pool.Shutdown(ctx); err != nil {
		return fmt.Errorf("tasks: %w", err)
	}
	return nil
}

// events works on what POST /events has promised.
type events struct {
	s *Service
	ending
}

func (e *events) Start(func(error)) error {
	ctx, cut := context.WithCancel(context.Background())
	e.ending = ending{e.s.HandleEvents(ctx), cut}
	return nil
}

func (e *events) Stop(ctx context.Context) error {
	e.s.Feed.Close()
	return e.wait(ctx, "events")
}

// depots have the newest settings pushed to them.
type depots struct {
	s *Service
	ending
}

func (d *depots) Start(func(error)) error {
	ctx, cut := context.WithCancel(context.Background())
	d.ending = ending{d.s.PushSettings(ctx), cut}
	return nil
}

func (d *depots) Stop(ctx context.Context) error {
	d.s.Hub.Close()
	return d.wait(ctx, "settings")
}

// operators have a port, and those on this machine have the profiles.
type operators struct {
	s     *Service
	ports *admin.Ports
}

func (o *operators) Start(func(error)) error {
	var err error
	o.ports, err = admin.Open(admin.Config{
		Public: o.s.Settings.OpsAddr, Handler: o.s.Operators(),
		Admin: o.s.AdminAddr(), WriteTimeout: 10 * time.Second,
	})
	if err != nil {
		return fmt.Errorf("operators: %w", err)
	}
	announce("ops", o.ports.PublicAddr())
	if addr := o.ports.AdminAddr(); addr != nil {
		announce("admin", addr)
	}
	return nil
}

func (o *operators) Stop(ctx context.Context) error {
	if o.ports == nil {
		return nil
	}
	if err := o.ports.Shutdown(ctx); err != nil {
		return fmt.Errorf("operators: %w", err)
	}
	return nil
}

// scanners are answered to the end: a line that was taken has its reply before
// the connection ends.
type scanners struct {
	s *Service
	net.Listener
	ending

	last   atomic.Bool  // no more lines
	open   atomic.Int64 // lines without a reply
	closed chan struct{}
	once   sync.Once
}

func (c *scanners) Start(fail func(error)) (err error) {
	if c.Listener, err = Listen("scan", c.s.Settings.ScanAddr); err != nil {
		return err
	}
	ctx, cut := context.WithCancel(context.Background())
	done := make(chan struct{})
	c.closed, c.ending = make(chan struct{}), ending{done, cut}
	go func() {
		defer close(done)
		if err := c.s.Scanners.Serve(ctx, c); err != nil {
			fail(fmt.Errorf("scanners: %w", err))
		}
	}()
	return nil
}

func (c *scanners) Stop(ctx context.Context) error {
	if c.done == nil {
		return nil
	}
	c.last.Store(true)
	c.Listener.Close()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for c.open.Load() > 0 && ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	n := c.open.Load()
	c.cut()
	<-c.done
	if n > 0 {
		return fmt.Errorf("scanners: %d queries cut off: %w", n, ctx.Err())
	}
	return nil
}

// Accept is what Serve calls. It does not fail because Stop has closed the
// port: to Serve, that would be the end of all connections.
func (c *scanners) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		if c.last.Load() {
			<-c.closed
		}
		return nil, err
	}
	return &scannerConn{Conn: conn, all: c}, nil
}

// Close is what Serve calls when its context has ended.
func (c *scanners) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Listener.Close()
}

// scannerConn counts lines in and replies out.
type scannerConn struct {
	net.Conn
	all *scanners

	mu     sync.Mutex
	open   int64
	closed bool
}

func (c *scannerConn) count(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.open += n
		c.all.open.Add(n)
	}
}

func (c *scannerConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		lines := int64(bytes.Count(b[:n], []byte("\n")))
		c.count(lines)
		if !c.all.last.Load() {
			return n, err
		}
		c.count(-lines) // too late, and thrown away
		if err != nil {
			return 0, err
		}
	}
}

func (c *scannerConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.count(-int64(bytes.Count(b[:n], []byte("\n"))))
	return n, err
}

func (c *scannerConn) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		c.all.open.Add(-c.open)
	}
	c.mu.Unlock()
	return c.Conn.Close()
}
