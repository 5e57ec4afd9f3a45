package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pitstop/checker/probe"
	catalog "pitstop/lessons/21_fallbacks"
)

const (
	ms       = time.Millisecond
	budget   = 400 * ms
	rollback = 10 * ms // a call needs this long to end once its context has ended
	slack    = 10 * ms
	fresh    = 5 * time.Minute
	stale    = time.Hour
	failures = 3
	cooldown = 30 * time.Second
	hangs    = time.Hour // in fake time, and for a single call
)

var (
	errPrimary = errors.New("primary: 502 bad gateway")
	errBackup  = errors.New("backup: connection refused")
)

func TestGet_AsksTheSourcesInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		primary, backup := &source{name: "primary", takes: 50 * ms}, &source{name: "backup", takes: 50 * ms}
		c := newCatalog(primary, backup)

		r := get(t.Context(), c, "p-1")
		checkAnswer(t, r, "p-1", "primary", false, "both sources answer")
		checkCalls(t, primary, 1, backup, 0, "after a first Get")
		time.Sleep(fresh - time.Second)
		r = get(t.Context(), c, "p-1")
		checkAnswer(t, r, "p-1", "primary", false, "the product was kept and fresh")
		if want := fresh - time.Second; r.Age != want {
			probe.Errorf(t, "catalog.order", "the product was kept %v ago, and its Age is %v.", want, r.Age)
		}
		checkCalls(t, primary, 1, backup, 0, "while the product was fresh")

		time.Sleep(2 * time.Second)
		primary.set(50*ms, errPrimary)
		r = get(t.Context(), c, "p-1")
		checkAnswer(t, r, "p-1", "backup", false, "the product was no longer fresh and the primary failed")
		checkCalls(t, primary, 2, backup, 1, "after the product had aged")

		backup.set(50*ms, errBackup)
		r = get(t.Context(), c, "p-1")
		checkAnswer(t, r, "p-1", "backup", false, "the backup's answer was kept and fresh")
		checkCalls(t, primary, 2, backup, 1, "while the backup's answer was fresh")
		time.Sleep(fresh + time.Second)
		r = get(t.Context(), c, "p-1")
		checkAnswer(t, r, "p-1", "backup", true, "both sources failed and an old answer was kept")
	})
}

func TestGet_AnswersInTimeWhenThePrimaryHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const gets, patience = 30, 450 * ms
		primary, backup := &source{name: "primary", takes: hangs}, &source{name: "backup", takes: 150 * ms}
		c := newCatalog(primary, backup)
		inTime := 0
		var took []time.Duration
		for i := range gets {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			r := get(ctx, c, fmt.Sprint("p-", i))
			cancel()
			took = append(took, r.took)
			if r.err == nil && r.took <= patience {
				inTime++
			}
		}
		slices.Sort(took)
		probe.Note(t, "median of a Get, primary hanging", took[gets/2].Milliseconds(), "ms")
		probe.Note(t, "slowest Get, primary hanging", took[gets-1].Milliseconds(), "ms")
		if !probe.Equal(t, "answers in time, primary hanging", inTime, gets, "answers") {
			probe.Errorf(t, "catalog.late", "the primary hung, the backup answers in 150ms, the Budget is %v, and %d of %d callers had an answer within %v; the slowest Get took %v.",
				budget, inTime, gets, patience, took[gets-1])
		}
		if n := primary.calls(); !probe.AtMost(t, "calls of a hung primary", n, failures, "calls") {
			probe.Errorf(t, "catalog.breaker", "the primary hung, and it was called %d times in %d Gets: after %d failed calls in a row it is left alone for %v.", n, gets, failures, cooldown)
		}
	})
}

func TestGet_StopsWhenTheCallerLeaves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		primary, backup := &source{name: "primary", takes: hangs}, &source{name: "backup", takes: hangs}
		c := newCatalog(primary, backup)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*ms, cancel)
		start := time.Now()
		r := get(ctx, c, "p-1")
		if !errors.Is(r.err, context.Canceled) {
			probe.Errorf(t, "catalog.caller_error", "the caller cancelled, and after %v Get returned %v: errors.Is does not find context.Canceled.", r.took, r.err)
		}
		after := quiet(primary, backup).Sub(start) - 100*ms
		if !probe.AtMost(t, "calls went on after the caller had left", after.Milliseconds(), (rollback + slack).Milliseconds(), "ms") {
			probe.Errorf(t, "catalog.outlives", "the only caller left after 100ms, and calls to the sources went on for %v; the backup was called %d times.", after, backup.calls())
		}
	})
}

func TestGet_KeepsBothErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCatalog(&source{name: "primary", takes: 50 * ms, err: errPrimary}, &source{name: "backup", takes: 50 * ms, err: errBackup})
		r := get(t.Context(), c, "p-1")
		for _, want := range []error{catalog.ErrUnavailable, errPrimary, errBackup} {
			if !errors.Is(r.err, want) {
				probe.Errorf(t, "catalog.error_lost", "both sources failed, and the error is %v: errors.Is does not find %q.", r.err, want)
			}
		}
	})
}

// bubble runs f in fake time. It outlasts a call that hangs.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	probe.Bubble(t, "catalog.stuck", 2*hangs, f)
}

func newCatalog(primary, backup *source) *catalog.Catalog {
	return catalog.New(config(primary, backup))
}

func config(primary, backup *source) catalog.Config {
	return catalog.Config{
		Primary: primary, Backup: backup, Budget: budget, Fresh: fresh, Stale: stale, Failures: failures, Cooldown: cooldown,
	}
}

type result struct {
	catalog.Answer
	err  error
	took time.Duration
}

func get(ctx context.Context, c *catalog.Catalog, id string) result {
	start := time.Now()
	a, err := c.Get(ctx, id)
	return result{a, err, time.Since(start)}
}

// product is what the named source knows of id.
func product(id, source string) catalog.Product {
	return catalog.Product{ID: id, Handling: "as the " + source + " says", Grams: 700}
}

func checkAnswer(t *testing.T, r result, id, from string, old bool, situation string) {
	t.Helper()
	switch {
	case r.err != nil:
		probe.Errorf(t, "catalog.order", "%s, and Get returned the error %q after %v.", situation, r.err, r.took)
	case r.Product != product(id, from):
		probe.Errorf(t, "catalog.order", "%s, and Get returned %+v; want the product %s %q.", situation, r.Product, id, product(id, from).Handling)
	case r.Stale != old && old:
		probe.Errorf(t, "catalog.unmarked", "%s, and the answer is not marked as stale.", situation)
	case r.Stale != old:
		probe.Errorf(t, "catalog.order", "%s, and the answer is marked as stale.", situation)
	}
}

func checkCalls(t *testing.T, primary *source, wantPrimary int, backup *source, wantBackup int, situation string) {
	t.Helper()
	if p, b := primary.calls(), backup.calls(); p != wantPrimary || b != wantBackup {
		probe.Errorf(t, "catalog.order", "%s, the primary had been called %d times and the backup %d times; want %d and %d.", situation, p, b, wantPrimary, wantBackup)
	}
}

// source is a service that honours its context, and takes rollback of time to
// do so.
type source struct {
	name string

	mu      sync.Mutex
	takes   time.Duration
	err     error
	begun   []time.Time
	ended   time.Time // of the last call that ended
	running int
}

func (s *source) Product(ctx context.Context, id string) (catalog.Product, error) {
	s.mu.Lock()
	s.begun = append(s.begun, time.Now())
	s.running++
	takes, err := s.takes, s.err
	s.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		time.Sleep(rollback)
		err = fmt.Errorf("%s: %w", s.name, ctx.Err())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	s.ended = time.Now()
	if err != nil {
		return catalog.Product{}, err
	}
	return product(id, s.name), nil
}

// set changes how the source answers the calls to come.
func (s *source) set(takes time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takes, s.err = takes, err
}

func (s *source) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.begun)
}

func (s *source) busy() (running int, ended time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running, s.ended
}

// quiet waits until none of the sources has had a call for a while, and
// returns when the last one ended.
func quiet(sources ...*source) (last time.Time) {
	time.Sleep(3 * budget)
	for _, s := range sources {
		running, ended := s.busy()
		if running > 0 {
			ended = time.Now()
		}
		if ended.After(last) {
			last = ended
		}
	}
	return last
}
