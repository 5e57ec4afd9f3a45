// finding: cache.stampede
//
// One token for each courier: who has it may load, and the others look again when it
// is their turn. After a failure they find nothing, and each in turn asks a
// database that is down.

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
}

// entry is what is known of one courier.
type entry struct {
	pos     dispatch.Position
	has     bool      // pos is one
	known   time.Time // when pos was reported or loaded
	reports int

	loading chan struct{} // holds one token: who has it may load
}

// New makes an empty cache.
func New(cfg Config) *Cache {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Plausible == nil {
		cfg.Plausible = func(from, to dispatch.Position) bool { return true }
	}
	return &Cache{cfg: cfg, entries: make(map[string]*entry)}
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
	e := c.entry(courier)
	p, ok := c.fresh(e)
	c.mu.Unlock()
	if ok {
		return p, nil
	}

	select {
	case e.loading <- struct{}{}:
	case <-ctx.Done():
		return dispatch.Position{}, ctx.Err()
	}
	// It may have been loaded or reported while we waited for our turn.
	c.mu.Lock()
	p, ok = c.fresh(e)
	c.mu.Unlock()
	if ok {
		<-e.loading
		return p, nil
	}

	// The load goes on when we leave: the others wait for what it brings.
	type result struct {
		pos dispatch.Position
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-e.loading }()
		p, err := c.cfg.Load(context.WithoutCancel(ctx), courier)
		if err != nil {
			done <- result{err: fmt.Errorf("positions: load %s: %w", courier, err)}
			return
		}
		done <- result{pos: c.loaded(e, p)}
	}()
	select {
	case r := <-done:
		return r.pos, r.err
	case <-ctx.Done():
		return dispatch.Position{}, ctx.Err()
	}
}

// entry returns the courier's entry, made where there is none. c.mu is held.
func (c *Cache) entry(courier string) *entry {
	e := c.entries[courier]
	if e == nil {
		e = &entry{loading: make(chan struct{}, 1)}
		c.entries[courier] = e
	}
	return e
}

// fresh returns what is known and has not expired. c.mu is held.
func (c *Cache) fresh(e *entry) (dispatch.Position, bool) {
	if !e.has || c.cfg.Now().Sub(e.known) >= c.cfg.TTL {
		return dispatch.Position{}, false
	}
	return e.pos, true
}

// loaded takes in what the database says and returns what is newest.
func (c *Cache) loaded(e *entry, p dispatch.Position) dispatch.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !e.has || p.At.After(e.pos.At) {
		e.pos, e.has = p, true
	}
	e.known = c.cfg.Now()
	return e.pos
}
