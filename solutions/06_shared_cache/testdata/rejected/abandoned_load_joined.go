// finding: cache.cancel
//
// Stops a load that nobody waits for any more, which is kind to the database, and
// leaves it on the map until it has ended. Who comes in between joins it, and is
// told of a cancellation that is not theirs.

// Package positions remembers where each courier was last seen. The couriers'
// phones report, the route planner asks, and what is not known is loaded from
// the database.
package positions

import (
	"context"
	"fmt"
	"sync"
	"time"

	"pitstop/lessons/dispatch"
)

// Config says where positions come from and how long they are good for.
type Config struct {
	// Load reads a courier's last position from the database. It is slow, it
	// may fail, and it returns soon after its context has ended.
	Load func(ctx context.Context, courier string) (dispatch.Position, error)

	// Plausible says whether a courier can have come from one position to the
	// next, or whether the phone is wrong. It is asked of a report that is newer
	// than what is known, perhaps more than once. It is quick, and does not call
	// the cache. Nil means always.
	Plausible func(from, to dispatch.Position) bool

	// TTL is how long a position is served after it was reported or loaded.
	TTL time.Duration

	// Now tells the time. Nil means time.Now.
	Now func() time.Time
}

// Cache holds the newest known position of each courier. It may be used from
// several goroutines at once. Make one with New.
type Cache struct {
	cfg Config

	mu      sync.Mutex
	entries map[string]*entry
	calls   map[string]*call // the loads under way
}

// entry is what is known of one courier.
type entry struct {
	pos     dispatch.Position
	has     bool      // pos is one
	known   time.Time // when pos was reported or loaded
	reports int
}

// call is one load that is under way, or has ended when done is closed.
type call struct {
	done    chan struct{}
	waiting int // callers; at 0 nobody wants the result, and the query is stopped
	cancel  context.CancelFunc
	pos     dispatch.Position
	err     error
}

// New makes an empty cache.
func New(cfg Config) *Cache {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Plausible == nil {
		cfg.Plausible = func(from, to dispatch.Position) bool { return true }
	}
	return &Cache{cfg: cfg, entries: make(map[string]*entry), calls: make(map[string]*call)}
}

// Report takes in a position from a courier's phone. The newest by its At is
// kept, if it is plausible. Report never waits for a load.
func (c *Cache) Report(p dispatch.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entry(p.Courier)
	e.reports++
	if !e.has || !p.At.Before(e.pos.At) && c.cfg.Plausible(e.pos, p) {
		e.pos, e.known, e.has = p, c.cfg.Now(), true
	}
}

// Reports says how many positions the courier has reported since the cache was
// made, with those that were not kept.
func (c *Cache) Reports(courier string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[courier]; e != nil {
		return e.reports
	}
	return 0
}

// Get returns where the courier was last seen. A position that was reported or
// loaded less than TTL ago is returned at once. Any other is loaded: once,
// however many callers want it, and without holding up other couriers.
func (c *Cache) Get(ctx context.Context, courier string) (dispatch.Position, error) {
	c.mu.Lock()
	if p, ok := c.fresh(courier); ok {
		c.mu.Unlock()
		return p, nil
	}
	l := c.calls[courier]
	if l == nil {
		l = &call{done: make(chan struct{})}
		var loadCtx context.Context
		loadCtx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
		c.calls[courier] = l
		go c.load(loadCtx, courier, l)
	}
	l.waiting++
	c.mu.Unlock()

	select {
	case <-l.done:
		return l.pos, l.err
	case <-ctx.Done():
		c.leave(l)
		return dispatch.Position{}, ctx.Err()
	}
}

// leave stops the load when its last caller has gone.
func (c *Cache) leave(l *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.waiting--; l.waiting == 0 {
		l.cancel()
	}
}

// load asks the database and tells all who wait for l.
func (c *Cache) load(ctx context.Context, courier string, l *call) {
	defer l.cancel()
	p, err := c.cfg.Load(ctx, courier)

	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		l.err = fmt.Errorf("positions: load %s: %w", courier, err)
	} else {
		l.pos = c.loaded(courier, p)
	}
	delete(c.calls, courier)
	close(l.done)
}

// entry returns the courier's entry, made where there is none. c.mu is held.
func (c *Cache) entry(courier string) *entry {
	e := c.entries[courier]
	if e == nil {
		e = &entry{}
		c.entries[courier] = e
	}
	return e
}

// fresh returns what is known and has not expired. c.mu is held.
func (c *Cache) fresh(courier string) (dispatch.Position, bool) {
	e := c.entries[courier]
	if e == nil || !e.has || c.cfg.Now().Sub(e.known) >= c.cfg.TTL {
		return dispatch.Position{}, false
	}
	return e.pos, true
}

// loaded takes in what the database says and returns what is newest. c.mu is held.
func (c *Cache) loaded(courier string, p dispatch.Position) dispatch.Position {
	e := c.entry(courier)
	if !e.has || p.At.After(e.pos.At) {
		e.pos, e.has = p, true
	}
	e.known = c.cfg.Now()
	return e.pos
}
