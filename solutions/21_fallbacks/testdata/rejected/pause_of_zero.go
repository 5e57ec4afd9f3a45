// finding: test.panic
// A random pause below Pause. rand.N panics when there is no Pause, in a
// goroutine where nobody recovers: the process ends.

// Package catalog tells what is in a parcel: its size, and how to handle it.
// A primary service knows best, a backup knows nearly as much, and what either
// said before is kept for bad times.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

var (
	// ErrNotFound is what a Source answers when there is no such product. It is
	// an answer like any other, and not a failure of the source.
	ErrNotFound = errors.New("catalog: no such product")

	// ErrUnavailable says that no source answered and that nothing usable is
	// kept. The errors of the sources are in the chain too.
	ErrUnavailable = errors.New("catalog: unavailable")
)

// Product is what a courier has to know of a parcel's contents.
type Product struct {
	ID       string `json:"id"`
	Handling string `json:"handling"` // as "this side up"
	Grams    int    `json:"grams"`
}

// Source is a service that knows products. A call comes back soon after its
// context has ended.
type Source interface {
	Product(ctx context.Context, id string) (Product, error)
}

// Config says where a Catalog asks, and how long it may take. Only Retries and
// Pause may be 0.
type Config struct {
	Primary, Backup Source

	// Budget is the most time that a Get takes, all its calls together. The
	// primary has the first half of it.
	Budget time.Duration

	Fresh time.Duration // an answer so old is served without asking
	Stale time.Duration // an answer so old is served, marked, when no source answers

	// Retries is how often a call of the primary that failed is made again,
	// each after a random pause of at most Pause, all within the primary's half.
	Retries int
	Pause   time.Duration

	// After so many failed calls of the primary in a row, it is left alone for
	// Cooldown. Then a single call tries it: success ends the rest, failure
	// starts it again.
	Failures int
	Cooldown time.Duration
}

// Answer is a product, and how far it can be trusted.
type Answer struct {
	Product
	Stale bool          // no source answered: this was kept from before
	Age   time.Duration // since a source said so
}

// errResting stands for the primary's error while it is left alone.
var errResting = errors.New("left alone after too many failures")

// Catalog answers from its cache, the primary, the backup, and what it kept,
// in this order. It may be used from several goroutines at once.
type Catalog struct {
	cfg Config

	mu    sync.Mutex
	kept  map[string]entry
	loads map[string]*load

	// The breaker of the primary.
	failures  int // in a row
	openUntil time.Time
	trying    bool // a single call is under way, after a Cooldown
}

type entry struct {
	product Product
	at      time.Time
}

// A load is under way for one product. Its answer may be read once done is
// closed; waiters is guarded by the Catalog's mu.
type load struct {
	cancel  context.CancelFunc
	done    chan struct{}
	waiters int

	answer Answer
	err    error
}

// New returns a Catalog with nothing in its cache.
func New(cfg Config) *Catalog {
	return &Catalog{cfg: cfg, kept: make(map[string]entry), loads: make(map[string]*load)}
}

// Get returns what is known of a product. Callers who ask for the same product
// at the same time share one load. A caller whose context ends gets ctx.Err()
// at once; when nobody waits for a load any more, its calls are cancelled.
func (c *Catalog) Get(ctx context.Context, id string) (Answer, error) {
	if err := ctx.Err(); err != nil {
		return Answer{}, err
	}
	if a, ok := c.fresh(id); ok {
		return a, nil
	}
	l := c.join(ctx, id)
	select {
	case <-l.done:
		return l.answer, l.err
	case <-ctx.Done():
		c.leave(id, l)
		return Answer{}, ctx.Err()
	}
}

// join returns the load of a product that is under way, or begins one.
func (c *Catalog) join(ctx context.Context, id string) *load {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.loads[id]
	if l == nil {
		loadCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.Budget)
		l = &load{cancel: cancel, done: make(chan struct{})}
		c.loads[id] = l
		go func() {
			defer cancel()
			a, err := c.ask(loadCtx, id)
			c.finish(id, l, a, err)
		}()
	}
	l.waiters++
	return l
}

// leave is for a caller who waits no longer. The last one ends the load.
func (c *Catalog) leave(id string, l *load) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.waiters--
	if l.waiters > 0 {
		return
	}
	l.cancel()
	if c.loads[id] == l {
		delete(c.loads, id) // whoever comes now gets a load of its own
	}
}

func (c *Catalog) finish(id string, l *load, a Answer, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loads[id] == l {
		delete(c.loads, id)
	}
	l.answer, l.err = a, err
	close(l.done)
}

// ask asks the primary, then the backup, and then what is kept.
func (c *Catalog) ask(ctx context.Context, id string) (Answer, error) {
	p, errPrimary := c.askPrimary(ctx, id)
	switch {
	case errPrimary == nil:
		return c.keep(id, p), nil
	case errors.Is(errPrimary, ErrNotFound):
		c.drop(id)
		return Answer{}, fmt.Errorf("product %s: %w", id, errPrimary)
	case ctx.Err() != nil:
		return Answer{}, ctx.Err() // everybody has left
	}

	p, errBackup := c.cfg.Backup.Product(ctx, id)
	switch {
	case errBackup == nil:
		return c.keep(id, p), nil
	case errors.Is(errBackup, ErrNotFound):
		c.drop(id)
		return Answer{}, fmt.Errorf("product %s: backup: %w", id, errBackup)
	}

	if a, ok := c.stale(id); ok {
		return a, nil
	}
	return Answer{}, fmt.Errorf("product %s: %w: %w; backup: %w", id, ErrUnavailable, errPrimary, errBackup)
}

// askPrimary calls the primary, and again when it fails, all within its half
// of the Budget.
func (c *Catalog) askPrimary(load context.Context, id string) (p Product, err error) {
	ctx, cancel := context.WithTimeout(load, c.cfg.Budget/2)
	defer cancel()
	err = errResting
	for try := range 1 + c.cfg.Retries {
		if try > 0 && !pause(ctx, c.cfg.Pause) {
			break
		}
		if ctx.Err() != nil || !c.admit() {
			break
		}
		p, err = c.cfg.Primary.Product(ctx, id)
		c.note(load, err)
		if err == nil || errors.Is(err, ErrNotFound) {
			break
		}
	}
	if err != nil {
		return p, fmt.Errorf("primary: %w", err)
	}
	return p, nil
}

// pause waits for a random time of at most d, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// admit reports whether the primary may be called. After a Cooldown it lets a
// single call through at a time. A call that was let through must be noted.
func (c *Catalog) admit() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failures < c.cfg.Failures {
		return true
	}
	if c.trying || time.Now().Before(c.openUntil) {
		return false
	}
	c.trying = true
	return true
}

// note counts the failures of the primary in a row. Callers who leave say
// nothing about the primary.
func (c *Catalog) note(load context.Context, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trying = false
	switch {
	case err == nil, errors.Is(err, ErrNotFound):
		c.failures = 0
	case load.Err() != nil: // everybody has left
	default:
		c.failures++
		if c.failures >= c.cfg.Failures {
			c.openUntil = time.Now().Add(c.cfg.Cooldown)
		}
	}
}

func (c *Catalog) fresh(id string) (Answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.kept[id]
	age := time.Since(e.at)
	return Answer{Product: e.product, Age: age}, ok && age <= c.cfg.Fresh
}

func (c *Catalog) stale(id string) (Answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.kept[id]
	age := time.Since(e.at)
	return Answer{Product: e.product, Stale: true, Age: age}, ok && age <= c.cfg.Stale
}

func (c *Catalog) keep(id string, p Product) Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[id] = entry{p, time.Now()}
	return Answer{Product: p}
}

func (c *Catalog) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kept, id)
}
