// Package catalog tells what is in a parcel: its size, and how to handle it.
// A primary service knows best, a backup knows nearly as much, and what either
// said before is kept for bad times.
package catalog

import (
	"context"
	"errors"
	"fmt"
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
// context has ended, with an error that need not be the context's.
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
	// each after a random pause of at most Pause, all within the primary's half
	// and none while it is left alone.
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

// Catalog answers from its cache, the primary, the backup, and what it kept,
// in this order. It may be used from several goroutines at once.
type Catalog struct {
	cfg Config

	mu        sync.Mutex
	kept      map[string]entry
	failures  int
	openUntil time.Time
}

type entry struct {
	product Product
	at      time.Time
}

// New returns a Catalog with nothing in its cache.
func New(cfg Config) *Catalog {
	return &Catalog{cfg: cfg, kept: make(map[string]entry)}
}

// Get returns what is known of a product. Callers who ask for the same product
// at the same time share one load. A caller whose context ends gets ctx.Err()
// at once; when nobody waits for a load any more, its calls are cancelled.
func (c *Catalog) Get(ctx context.Context, id string) (Answer, error) {
	old, ok := c.lookup(id)
	if ok && time.Since(old.at) <= c.cfg.Fresh {
		return Answer{Product: old.product, Age: time.Since(old.at)}, nil
	}

	p, err := c.askPrimary(ctx, id)
	if err == nil {
		return c.keep(id, p), nil
	}

	backupCtx, cancel := context.WithTimeout(context.Background(), c.cfg.Budget/2)
	defer cancel()
	p, err = c.cfg.Backup.Product(backupCtx, id)
	if err == nil {
		return c.keep(id, p), nil
	}

	if age := time.Since(old.at); ok && age <= c.cfg.Stale {
		return Answer{Product: old.product, Stale: true, Age: age}, nil
	}
	if errors.Is(err, ErrNotFound) {
		return Answer{}, fmt.Errorf("catalog: product %s: %w", id, err)
	}
	return Answer{}, fmt.Errorf("product %s: %w: %w", id, ErrUnavailable, err)
}

// askPrimary calls the primary, unless it has failed too often of late.
func (c *Catalog) askPrimary(ctx context.Context, id string) (p Product, err error) {
	if c.resting() {
		return p, errors.New("primary is left alone")
	}
	for range 1 + c.cfg.Retries {
		p, err = c.callPrimary(ctx, id)
		c.note(err)
		if err == nil {
			return p, nil
		}
		time.Sleep(c.cfg.Pause)
	}
	return p, fmt.Errorf("primary: %w", err)
}

func (c *Catalog) callPrimary(ctx context.Context, id string) (Product, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Budget)
	defer cancel()
	return c.cfg.Primary.Product(ctx, id)
}

// resting reports whether the primary is left alone.
func (c *Catalog) resting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failures >= c.cfg.Failures && time.Now().Before(c.openUntil)
}

// note counts the failures of the primary in a row. A caller who leaves says
// nothing about the primary.
func (c *Catalog) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.failures = 0
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	default:
		c.failures++
		c.openUntil = time.Now().Add(c.cfg.Cooldown)
	}
}

func (c *Catalog) lookup(id string) (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.kept[id]
	return e, ok
}

func (c *Catalog) keep(id string, p Product) Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[id] = entry{p, time.Now()}
	return Answer{Product: p}
}
