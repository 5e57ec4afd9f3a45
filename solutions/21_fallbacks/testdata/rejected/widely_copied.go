// finding: catalog.late

// Much copied: half a second for the primary, a second for the backup on a
// context of nobody, the backup's error only, and old answers without a mark
// or a limit. When the primary hangs, every answer comes when the callers
// have gone.

// Package catalog tells what is in a parcel: its size, and how to handle it.
// A primary service knows best, a backup knows nearly as much, and what either
// said before is kept for bad times.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"log"
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

// Catalog answers from its cache, the primary, the backup, and what it kept,
// in this order. It may be used from several goroutines at once.
type Catalog struct {
	cfg Config

	mu   sync.Mutex
	kept map[string]entry
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
	primaryCtx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	p, err := c.cfg.Primary.Product(primaryCtx, id)
	if err == nil {
		return c.keep(id, p), nil
	}
	log.Printf("primary: %v", err)
	backupCtx, stop := context.WithTimeout(context.Background(), time.Second)
	defer stop()
	p, err = c.cfg.Backup.Product(backupCtx, id)
	if err == nil {
		return c.keep(id, p), nil
	}
	if ok {
		log.Printf("stale: %s", id)
		return Answer{Product: old.product}, nil
	}
	return Answer{}, fmt.Errorf("product %s: %w", id, err)
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
