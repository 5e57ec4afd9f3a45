// finding: cache.expiry
//
// The clock is read when Get begins, and what was loaded counts from there.

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
	cfg     Config
	mu      sync.Mutex
	entries map[string]*entry
	flights map[string]*flight
}

// entry is what is known of one courier.
type entry struct {
	pos     dispatch.Position
	known   time.Time // when pos was reported or loaded
	has     bool
	reports int
}

// flight is a load that is under way.
type flight struct {
	done chan struct{}
	pos  dispatch.Position
	err  error
}

// New makes an empty cache.
func New(cfg Config) *Cache {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Plausible == nil {
		cfg.Plausible = func(from, to dispatch.Position) bool { return true }
	}
	return &Cache{cfg: cfg, entries: map[string]*entry{}, flights: map[string]*flight{}}
}

// Report takes in a position from a courier's phone. The newest by its At is
// kept, if it is plausible: phones send late what they could not send in a
// tunnel. Report never waits for a load.
func (c *Cache) Report(p dispatch.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entry(p.Courier)
	e.reports++
	if c.better(e, p) {
		e.pos, e.has, e.known = p, true, c.cfg.Now()
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
// however many callers want it, and without holding up other couriers. Of what
// is loaded and what is known, the newer by its At is kept, for another TTL.
//
// The load carries the values of a caller's context. A caller whose context
// ends gets its error; the others still get the position. When the load fails
// they all get an error that wraps the cause, and the next Get tries again.
func (c *Cache) Get(ctx context.Context, courier string) (dispatch.Position, error) {
	now := c.cfg.Now()
	c.mu.Lock()
	if e := c.entries[courier]; e != nil && e.has && now.Sub(e.known) < c.cfg.TTL {
		defer c.mu.Unlock()
		return e.pos, nil
	}
	f := c.flights[courier]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		c.flights[courier] = f
		go c.load(context.WithoutCancel(ctx), courier, f, now)
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.pos, f.err
	case <-ctx.Done():
		return dispatch.Position{}, ctx.Err()
	}
}

func (c *Cache) load(ctx context.Context, courier string, f *flight, now time.Time) {
	p, err := c.cfg.Load(ctx, courier)
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(f.done)
	delete(c.flights, courier)
	if err != nil {
		f.err = fmt.Errorf("positions: load %s: %w", courier, err)
		return
	}
	e := c.entry(courier)
	if !e.has || p.At.After(e.pos.At) {
		e.pos, e.has = p, true
	}
	e.known = now
	f.pos = e.pos
}

// better says whether a report should take the place of what is known.
func (c *Cache) better(e *entry, p dispatch.Position) bool {
	if !e.has || e.pos.At.IsZero() { // nothing is
		return true
	}
	return !p.At.Before(e.pos.At) && c.cfg.Plausible(e.pos, p)
}

// entry returns the courier's entry, and makes it where there is none. The
// lock is held.
func (c *Cache) entry(courier string) *entry {
	e := c.entries[courier]
	if e == nil {
		e = &entry{}
		c.entries[courier] = e
	}
	return e
}
