// finding: race.data
//
// Reports only reads one number, so it looks the courier up under the lock, and reads it after.

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

	mu      sync.Mutex // held for whole steps, never while loading
	entries map[string]*entry
	loads   map[string]*load // those under way
}

// entry is what is known of one courier.
type entry struct {
	pos     dispatch.Position
	known   time.Time // when pos was reported or loaded
	reports int
}

// New makes an empty cache.
func New(cfg Config) *Cache {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Plausible == nil {
		cfg.Plausible = func(from, to dispatch.Position) bool { return true }
	}
	return &Cache{cfg: cfg, entries: make(map[string]*entry), loads: make(map[string]*load)}
}

// Report takes in a position from a courier's phone. The newest by its At is
// kept, if it is plausible: phones send late what they could not send in a
// tunnel. Report never waits for a load.
func (c *Cache) Report(p dispatch.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.of(p.Courier)
	e.reports++
	if c.better(e.pos, p) {
		e.pos, e.known = p, c.cfg.Now()
	}
}

// Reports says how many positions the courier has reported since the cache was
// made, with those that were not kept.
func (c *Cache) Reports(courier string) int {
	c.mu.Lock()
	e := c.entries[courier]
	c.mu.Unlock()
	if e != nil {
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
	c.mu.Lock()
	if e := c.entries[courier]; e != nil && c.cfg.Now().Sub(e.known) < c.cfg.TTL {
		defer c.mu.Unlock()
		return e.pos, nil
	}
	l := c.loads[courier]
	if l == nil {
		l = &load{done: make(chan struct{})}
		c.loads[courier] = l
		go c.load(context.WithoutCancel(ctx), courier, l)
	}
	c.mu.Unlock()

	select {
	case <-l.done:
		return l.pos, l.err
	case <-ctx.Done():
		return dispatch.Position{}, ctx.Err()
	}
}

// better says whether a report should take the place of what is known.
func (c *Cache) better(known, p dispatch.Position) bool {
	if known.At.IsZero() { // nothing is
		return true
	}
	return !p.At.Before(known.At) && c.cfg.Plausible(known, p)
}

// load is one question to the database, and its answer once done is closed.
type load struct {
	done chan struct{}
	pos  dispatch.Position
	err  error
}

// load asks the database and tells all who wait. The answer is in the map
// before the load is off it: whoever looks in between finds one or the other.
func (c *Cache) load(ctx context.Context, courier string, l *load) {
	p, err := c.cfg.Load(ctx, courier)

	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		e := c.of(courier)
		if !p.At.Before(e.pos.At) { // look again: the phone may have reported
			e.pos = p
		}
		e.known = c.cfg.Now() // also where the database had nothing newer
		l.pos = e.pos
	} else {
		l.err = fmt.Errorf("positions: load %s: %w", courier, err)
	}
	delete(c.loads, courier)
	close(l.done)
}

// of returns the courier's entry, a new one where there is none. The lock must
// be held.
func (c *Cache) of(courier string) *entry {
	e := c.entries[courier]
	if e == nil {
		e = &entry{}
		c.entries[courier] = e
	}
	return e
}
