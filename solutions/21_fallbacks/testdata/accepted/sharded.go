// Shards instead of one lock, a channel for each who waits, and a breaker
// that is a pointer to its phase, swapped and never changed.

// Package catalog tells what is in a parcel: its size, and how to handle it.
// A primary service knows best, a backup knows nearly as much, and what either
// said before is kept for bad times.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
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
	cfg     Config
	circuit circuit
	seed    maphash.Seed
	shards  [16]shard
}

// A shard holds some of the products. Its lock is never held during a call.
type shard struct {
	mu       sync.Mutex
	products map[string]*product
}

// product is what is kept of a product, and the load under way: at least one
// of the two.
type product struct {
	kept *kept
	load *load
}

type kept struct {
	Product
	at time.Time
}

// A load is known by who waits for it. Nobody waits for one that was left.
type load struct {
	waiters map[chan result]struct{} // guarded by the lock of the shard
	abandon context.CancelCauseFunc
}

type result struct {
	answer Answer
	err    error
}

// errAbandoned is the cause of a context whose load nobody waits for.
var errAbandoned = errors.New("catalog: nobody waits")

// New returns a Catalog with nothing in its cache.
func New(cfg Config) *Catalog {
	c := &Catalog{cfg: cfg, seed: maphash.MakeSeed()}
	c.circuit.limit, c.circuit.cooldown = cfg.Failures, cfg.Cooldown
	c.circuit.now.Store(&phase{})
	for i := range c.shards {
		c.shards[i].products = make(map[string]*product)
	}
	return c
}

// Get returns what is known of a product. Callers who ask for the same product
// at the same time share one load. A caller whose context ends gets ctx.Err()
// at once; when nobody waits for a load any more, its calls are cancelled.
func (c *Catalog) Get(ctx context.Context, id string) (Answer, error) {
	if err := ctx.Err(); err != nil {
		return Answer{}, err
	}
	s := &c.shards[maphash.String(c.seed, id)%uint64(len(c.shards))]
	mine := make(chan result, 1)

	s.mu.Lock()
	p := s.products[id]
	if p == nil {
		p = &product{}
		s.products[id] = p
	}
	if p.kept != nil {
		if age := time.Since(p.kept.at); age <= c.cfg.Fresh {
			s.mu.Unlock()
			return Answer{Product: p.kept.Product, Age: age}, nil
		}
	}
	l := p.load
	if l == nil {
		l = &load{waiters: make(map[chan result]struct{})}
		p.load = l
		var loadCtx context.Context
		loadCtx, l.abandon = context.WithCancelCause(context.WithoutCancel(ctx))
		go c.run(loadCtx, s, id, l)
	}
	l.waiters[mine] = struct{}{}
	s.mu.Unlock()

	select {
	case r := <-mine:
		return r.answer, r.err
	case <-ctx.Done():
		s.leave(id, l, mine)
		return Answer{}, ctx.Err()
	}
}

func (s *shard) leave(id string, l *load, who chan result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(l.waiters, who)
	if p := s.products[id]; len(l.waiters) == 0 && p != nil && p.load == l {
		l.abandon(errAbandoned)
		s.put(id, p.kept)
	}
}

// put ends the load of a product. It is called with the lock.
func (s *shard) put(id string, k *kept) {
	if k == nil {
		delete(s.products, id)
		return
	}
	s.products[id] = &product{kept: k}
}

func (c *Catalog) run(ctx context.Context, s *shard, id string, l *load) {
	defer l.abandon(nil)
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Budget)
	defer cancel()
	found, err := c.ask(ctx, id)

	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.products[id]
	if p == nil || p.load != l {
		return
	}
	r, k := c.conclude(id, found, err, p.kept)
	s.put(id, k)
	for w := range l.waiters {
		w <- r
	}
}

// conclude says what the waiters get, and what is kept from now on.
func (c *Catalog) conclude(id string, found Product, err error, old *kept) (result, *kept) {
	switch {
	case err == nil:
		return result{answer: Answer{Product: found}}, &kept{found, time.Now()}
	case errors.Is(err, ErrNotFound):
		return result{err: fmt.Errorf("catalog: product %s: %w", id, err)}, nil
	}
	if old != nil {
		if age := time.Since(old.at); age <= c.cfg.Stale {
			return result{answer: Answer{Product: old.Product, Stale: true, Age: age}}, old
		}
	}
	return result{err: fmt.Errorf("product %s: %w: %w", id, ErrUnavailable, err)}, nil
}

// ask goes from source to source until one answers.
func (c *Catalog) ask(ctx context.Context, id string) (Product, error) {
	var wrong []error
	for _, source := range []func(context.Context, string) (Product, error){c.primary, c.cfg.Backup.Product} {
		if ctx.Err() != nil {
			wrong = append(wrong, ctx.Err())
			break
		}
		p, err := source(ctx, id)
		if answered(err) {
			return p, err
		}
		wrong = append(wrong, err)
	}
	return Product{}, errors.Join(wrong...)
}

func answered(err error) bool { return err == nil || errors.Is(err, ErrNotFound) }

// primary is the primary with its half of the Budget, retries and breaker.
func (c *Catalog) primary(ctx context.Context, id string) (Product, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Budget/2)
	defer cancel()
	var wrong []error
	for left := c.cfg.Retries; ; left-- {
		report, err := c.circuit.enter()
		if err != nil {
			return Product{}, errors.Join(append(wrong, err)...)
		}
		p, err := c.cfg.Primary.Product(ctx, id)
		abandoned := context.Cause(ctx) == errAbandoned
		switch {
		case answered(err):
			report(good)
			return p, err
		case abandoned:
			report(unknown)
		default:
			report(bad)
		}
		wrong = append(wrong, err)
		if left == 0 || c.circuit.now.Load().open() {
			return Product{}, errors.Join(wrong...)
		}
		pause := time.NewTimer(rand.N(c.cfg.Pause + 1))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
		if ctx.Err() != nil {
			return Product{}, errors.Join(wrong...)
		}
	}
}

// A circuit is the breaker of the primary: it goes from phase to phase.
type circuit struct {
	limit    int
	cooldown time.Duration
	now      atomic.Pointer[phase]
}

// A phase is never changed, only replaced. The zero phase is a closed circuit
// without failures.
type phase struct {
	epoch    int // calls of an earlier one count no more
	failures int
	until    time.Time // zero while closed, else the end of the Cooldown
	trial    bool      // a call is trying
}

func (p *phase) open() bool { return !p.until.IsZero() }

type verdict int

const (
	good verdict = iota
	bad
	unknown
)

var errOpen = errors.New("catalog: the primary is left alone")

// enter allows a call or not. The outcome of the call must be reported.
func (c *circuit) enter() (report func(verdict), err error) {
	for {
		old := c.now.Load()
		if !old.open() {
			return func(v verdict) { c.counted(old.epoch, v) }, nil
		}
		if old.trial || time.Now().Before(old.until) {
			return nil, errOpen
		}
		trial := &phase{epoch: old.epoch + 1, until: old.until, trial: true}
		if c.now.CompareAndSwap(old, trial) {
			return func(v verdict) { c.tried(trial, v) }, nil
		}
	}
}

// counted takes the outcome of a call that began while the circuit was closed.
func (c *circuit) counted(epoch int, v verdict) {
	for {
		old := c.now.Load()
		if old.epoch != epoch || v == unknown {
			return
		}
		next := &phase{epoch: epoch}
		if v == bad {
			next.failures = old.failures + 1
		}
		if next.failures >= c.limit {
			next = &phase{epoch: epoch + 1, until: time.Now().Add(c.cooldown)}
		}
		if c.now.CompareAndSwap(old, next) {
			return
		}
	}
}

// tried takes the outcome of a trial. Nobody else can end its phase.
func (c *circuit) tried(trial *phase, v verdict) {
	next := &phase{epoch: trial.epoch + 1}
	switch v {
	case bad:
		next.until = time.Now().Add(c.cooldown)
	case unknown:
		next.until = trial.until
	}
	c.now.Store(next)
}
