// finding: race.data
//
// What is kept is only read where no source answers, so there is no lock.

// Package catalog tells what is in a parcel: its size, and how to handle it.
// A primary service knows best, a backup knows nearly as much, and what either
// said before is kept for bad times.
package catalog

import (
	"cmp"
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
	cfg     Config
	breaker breaker

	mu    sync.Mutex
	kept  map[string]entry
	loads map[string]*load // those under way
}

type entry struct {
	product Product
	at      time.Time
}

// load is one attempt to get a product, for all who want it now. It ends with
// the Budget, or when nobody waits any more.
type load struct {
	waiting int // guarded by Catalog.mu
	cancel  context.CancelFunc
	done    chan struct{} // closed when answer and err are set
	answer  Answer
	err     error
}

// New returns a Catalog with nothing in its cache.
func New(cfg Config) *Catalog {
	return &Catalog{
		cfg:     cfg,
		breaker: breaker{limit: cfg.Failures, cooldown: cfg.Cooldown},
		kept:    make(map[string]entry),
		loads:   make(map[string]*load),
	}
}

// Get returns what is known of a product. Callers who ask for the same product
// at the same time share one load. A caller whose context ends gets ctx.Err()
// at once; when nobody waits for a load any more, its calls are cancelled.
func (c *Catalog) Get(ctx context.Context, id string) (Answer, error) {
	if err := ctx.Err(); err != nil {
		return Answer{}, fmt.Errorf("product %s: %w", id, err)
	}
	c.mu.Lock()
	if e, ok := c.kept[id]; ok && time.Since(e.at) <= c.cfg.Fresh {
		c.mu.Unlock()
		return Answer{Product: e.product, Age: time.Since(e.at)}, nil
	}
	l := c.loads[id]
	if l == nil {
		l = c.start(ctx, id)
	}
	l.waiting++
	c.mu.Unlock()

	select {
	case <-l.done:
		return l.answer, l.err
	case <-ctx.Done():
		c.leave(id, l)
		return Answer{}, fmt.Errorf("product %s: %w", id, ctx.Err())
	}
}

// start begins a load, with the values of the caller who came first and
// nobody's cancel. The lock is held.
func (c *Catalog) start(ctx context.Context, id string) *load {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &load{cancel: cancel, done: make(chan struct{})}
	c.loads[id] = l
	go func() {
		defer cancel()
		l.answer, l.err = c.ask(ctx, id)
		c.mu.Lock()
		c.forget(id, l)
		c.mu.Unlock()
		close(l.done)
	}()
	return l
}

// leave takes one caller off a load. A load that nobody waits for is cancelled,
// and forgotten at once: whoever comes now needs a new one.
func (c *Catalog) leave(id string, l *load) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.waiting--; l.waiting == 0 {
		c.forget(id, l)
		l.cancel()
	}
}

func (c *Catalog) forget(id string, l *load) {
	if c.loads[id] == l {
		delete(c.loads, id)
	}
}

// ask goes through the sources within the Budget.
func (c *Catalog) ask(ctx context.Context, id string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Budget)
	defer cancel()
	p, err := c.askPrimary(ctx, id)
	if err == nil || errors.Is(err, ErrNotFound) {
		return c.settle(id, p, err)
	}
	if ctx.Err() != nil {
		return c.fallBack(id, err, ctx.Err())
	}
	p, backupErr := c.cfg.Backup.Product(ctx, id)
	if backupErr == nil || errors.Is(backupErr, ErrNotFound) {
		return c.settle(id, p, backupErr)
	}
	return c.fallBack(id, err, backupErr)
}

// askPrimary calls the primary in the first half of the Budget, with retries.
func (c *Catalog) askPrimary(ctx context.Context, id string) (p Product, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Budget/2)
	defer cancel()
	for retry := 0; ; retry++ {
		before := err
		p, err = c.callPrimary(ctx, id)
		if errors.Is(err, errResting) {
			return p, cmp.Or(before, err) // what the primary said, where it was asked
		}
		if err == nil || errors.Is(err, ErrNotFound) || retry >= c.cfg.Retries {
			return p, err
		}
		select {
		case <-time.After(rand.N(c.cfg.Pause + 1)):
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return p, err
		}
	}
}

func (c *Catalog) callPrimary(ctx context.Context, id string) (Product, error) {
	number, ok := c.breaker.enter()
	if !ok {
		return Product{}, errResting
	}
	p, err := c.cfg.Primary.Product(ctx, id)
	switch {
	case err == nil || errors.Is(err, ErrNotFound):
		c.breaker.leave(number, good)
	case ctx.Err() == context.Canceled: // nobody waits: it says nothing about the primary
		c.breaker.leave(number, unknown)
	default:
		c.breaker.leave(number, bad)
	}
	return p, err
}

// settle keeps what a source answered. A product that is gone is kept no longer.
func (c *Catalog) settle(id string, p Product, err error) (Answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		delete(c.kept, id)
		return Answer{}, fmt.Errorf("product %s: %w", id, err)
	}
	c.kept[id] = entry{p, time.Now()}
	return Answer{Product: p}, nil
}

// fallBack answers from what is kept, when neither source did.
func (c *Catalog) fallBack(id string, primary, backup error) (Answer, error) {
	if e, ok := c.kept[id]; ok && time.Since(e.at) <= c.cfg.Stale {
		return Answer{Product: e.product, Stale: true, Age: time.Since(e.at)}, nil
	}
	return Answer{}, fmt.Errorf("product %s: %w: primary: %w; backup: %w", id, ErrUnavailable, primary, backup)
}

var errResting = errors.New("left alone after failures")

type outcome int

const (
	good outcome = iota
	bad
	unknown
)

// breaker counts failures in a row. Each time it opens or closes, a new
// generation begins, and calls of an older one no longer count.
type breaker struct {
	limit    int
	cooldown time.Duration

	mu         sync.Mutex
	generation int
	failures   int
	openUntil  time.Time // zero while it is closed
	probing    bool
}

func (b *breaker) enter() (generation int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.openUntil.IsZero() {
		return b.generation, true
	}
	if b.probing || time.Now().Before(b.openUntil) {
		return 0, false
	}
	b.probing = true
	return b.generation, true
}

func (b *breaker) leave(generation int, o outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if generation != b.generation {
		return
	}
	probe := b.probing
	b.probing = false
	switch {
	case o == good && probe:
		b.generation++
		b.failures, b.openUntil = 0, time.Time{}
	case o == good:
		b.failures = 0
	case o == bad:
		if b.failures++; probe || b.failures >= b.limit {
			b.generation++
			b.openUntil = time.Now().Add(b.cooldown)
		}
	}
}
