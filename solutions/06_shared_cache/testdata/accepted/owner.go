// One goroutine owns the map, and everybody sends it what is to be done. There
// is nothing to lock; each function is one step by its nature. The goroutine
// lives as long as the process.

// Package positions remembers where each courier was last seen. The couriers'
// phones report, the route planner asks, and what is not known is loaded from
// the database.
package positions

import (
	"context"
	"fmt"
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
	ask chan func(entries map[string]*entry)
}

// entry is what is known of one courier, and who waits to hear more.
type entry struct {
	pos     dispatch.Position
	known   time.Time // when pos was reported or loaded
	reports int
	waiting []chan answer // not empty while a load is under way
}

type answer struct {
	pos dispatch.Position
	err error
}

// New makes an empty cache.
func New(cfg Config) *Cache {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Plausible == nil {
		cfg.Plausible = func(from, to dispatch.Position) bool { return true }
	}
	c := &Cache{cfg: cfg, ask: make(chan func(map[string]*entry))}
	go func() {
		entries := make(map[string]*entry)
		for f := range c.ask {
			f(entries)
		}
	}()
	return c
}

// Report takes in a position from a courier's phone. The newest by its At is
// kept, if it is plausible: phones send late what they could not send in a
// tunnel. Report never waits for a load.
func (c *Cache) Report(p dispatch.Position) {
	now := c.cfg.Now() // of the report, and not of when the owner comes to it
	c.ask <- func(entries map[string]*entry) {
		e := of(entries, p.Courier)
		e.reports++
		if c.better(e.pos, p) {
			e.pos, e.known = p, now
		}
	}
}

// Reports says how many positions the courier has reported since the cache was
// made, with those that were not kept.
func (c *Cache) Reports(courier string) int {
	n := make(chan int)
	c.ask <- func(entries map[string]*entry) { n <- of(entries, courier).reports }
	return <-n
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
	back := make(chan answer, 1)
	c.ask <- func(entries map[string]*entry) {
		e := of(entries, courier)
		if c.cfg.Now().Sub(e.known) < c.cfg.TTL {
			back <- answer{pos: e.pos}
			return
		}
		e.waiting = append(e.waiting, back)
		if len(e.waiting) == 1 {
			go c.load(context.WithoutCancel(ctx), courier)
		}
	}
	select {
	case a := <-back:
		return a.pos, a.err
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

func (c *Cache) load(ctx context.Context, courier string) {
	p, err := c.cfg.Load(ctx, courier)
	c.ask <- func(entries map[string]*entry) {
		e := of(entries, courier)
		var a answer
		if err != nil {
			a.err = fmt.Errorf("positions: load %s: %w", courier, err)
		} else {
			if p.At.After(e.pos.At) {
				e.pos = p
			}
			e.known = c.cfg.Now()
			a.pos = e.pos
		}
		for _, back := range e.waiting {
			back <- a
		}
		e.waiting = nil
	}
}

// of returns the courier's entry, a fresh one where there is none.
func of(entries map[string]*entry, courier string) *entry {
	e := entries[courier]
	if e == nil {
		e = &entry{}
		entries[courier] = e
	}
	return e
}
