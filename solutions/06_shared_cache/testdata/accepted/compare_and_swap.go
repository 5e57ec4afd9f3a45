// No lock: entries never change, and a new one takes the place of the old only
// if the old one is still there. Whoever was slower looks again.

// Package positions remembers where each courier was last seen. The couriers'
// phones report, the route planner asks, and what is not known is loaded from
// the database.
package positions

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
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
	entries sync.Map // courier to *atomic.Pointer[entry]
	loads   sync.Map // courier to *load
}

// entry is what was known of one courier at a moment. It never changes: a new
// one takes its place.
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
	return &Cache{cfg: cfg}
}

// Report takes in a position from a courier's phone. The newest by its At is
// kept, if it is plausible: phones send late what they could not send in a
// tunnel. Report never waits for a load.
func (c *Cache) Report(p dispatch.Position) {
	c.change(p.Courier, func(e *entry) {
		e.reports++
		if c.better(e.pos, p) {
			e.pos, e.known = p, c.cfg.Now()
		}
	})
}

// Reports says how many positions the courier has reported since the cache was
// made, with those that were not kept.
func (c *Cache) Reports(courier string) int {
	return c.place(courier).Load().reports
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
	if e := c.place(courier).Load(); c.fresh(e) {
		return e.pos, nil
	}
	mine := &load{done: make(chan struct{})}
	found, under := c.loads.LoadOrStore(courier, mine)
	l := found.(*load)
	if !under {
		go c.load(context.WithoutCancel(ctx), courier, l)
	}
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

type load struct {
	done chan struct{}
	pos  dispatch.Position
	err  error
}

func (c *Cache) load(ctx context.Context, courier string, l *load) {
	defer close(l.done)
	defer c.loads.Delete(courier)
	if e := c.place(courier).Load(); c.fresh(e) { // a load ended since the look
		l.pos = e.pos
		return
	}
	p, err := c.cfg.Load(ctx, courier)
	if err != nil {
		l.err = fmt.Errorf("positions: load %s: %w", courier, err)
		return
	}
	l.pos = c.change(courier, func(e *entry) {
		if p.At.After(e.pos.At) {
			e.pos = p
		}
		e.known = c.cfg.Now()
	}).pos
}

func (c *Cache) fresh(e *entry) bool { return c.cfg.Now().Sub(e.known) < c.cfg.TTL }

// change puts a changed copy in the place of the courier's entry, and starts
// over where somebody else was faster.
func (c *Cache) change(courier string, f func(*entry)) *entry {
	place := c.place(courier)
	for {
		old := place.Load()
		e := *old
		f(&e)
		if place.CompareAndSwap(old, &e) {
			return &e
		}
	}
}

func (c *Cache) place(courier string) *atomic.Pointer[entry] {
	if v, ok := c.entries.Load(courier); ok {
		return v.(*atomic.Pointer[entry])
	}
	fresh := new(atomic.Pointer[entry])
	fresh.Store(&entry{})
	v, _ := c.entries.LoadOrStore(courier, fresh)
	return v.(*atomic.Pointer[entry])
}
