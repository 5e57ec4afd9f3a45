//go:build review

package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pitstop/checker/probe"
	catalog "pitstop/lessons/21_fallbacks"
)

func TestReview_TheBudgetIsShared(t *testing.T) {
	for _, c := range []struct {
		situation       string
		primary, backup time.Duration
		fails           error
		from            string
	}{
		{"the primary needs 170ms of a Budget of 400ms", 170 * ms, 20 * ms, nil, "primary"},
		{"the primary hangs and the backup needs 170ms of a Budget of 400ms", hangs, 170 * ms, nil, "backup"},
		{"the primary fails after 10ms and the backup needs 350ms of a Budget of 400ms", 10 * ms, 350 * ms, errPrimary, "backup"},
	} {
		t.Run(c.situation, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := get(t.Context(), newCatalog(&source{name: "primary", takes: c.primary, err: c.fails}, &source{name: "backup", takes: c.backup}), "p-1")
				if r.err != nil || r.Product != product("p-1", c.from) {
					probe.Errorf(t, "catalog.share", "%s, and Get returned %q and the error %v after %v: the primary has half of the Budget, and the backup what is left.", c.situation, r.Handling, r.err, r.took)
				}
			})
		})
	}
	t.Run("both hang", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			primary, backup := &source{name: "primary", takes: 10 * ms}, &source{name: "backup", takes: hangs}
			c := newCatalog(primary, backup)
			get(t.Context(), c, "p-1")
			primary.set(hangs, nil)
			time.Sleep(2 * fresh)
			old, none := get(t.Context(), c, "p-1"), get(t.Context(), c, "p-2")
			for _, r := range []result{old, none} {
				if !probe.AtMost(t, "Get with both sources hanging", r.took.Milliseconds(), (budget + rollback + slack).Milliseconds(), "ms") {
					probe.Errorf(t, "catalog.late", "both sources hung, the Budget is %v, and Get came back after %v.", budget, r.took)
				}
			}
			if old.err != nil || !old.Stale {
				probe.Errorf(t, "catalog.stale", "both sources hung and an old answer was kept, and Get returned %+v and the error %v.", old.Answer, old.err)
			}
			if !errors.Is(none.err, catalog.ErrUnavailable) {
				probe.Errorf(t, "catalog.error_lost", "both sources hung with nothing kept, and the error is %v: errors.Is does not find ErrUnavailable.", none.err)
			}
		})
	})
}

func TestReview_AHerdLoadsOnce(t *testing.T) {
	const herd = 100
	for _, c := range []struct {
		name                  string
		takes                 time.Duration
		primaryErr, backupErr error
		backups               int
	}{
		{"the primary answers", 100 * ms, nil, nil, 0},
		{"the primary fails", 50 * ms, errPrimary, nil, 1},
		{"both fail", 50 * ms, errPrimary, errBackup, 1},
		{"the primary hangs", hangs, nil, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				primary := &source{name: "primary", takes: c.takes, err: c.primaryErr}
				backup := &source{name: "backup", takes: 50 * ms, err: c.backupErr}
				cat := newCatalog(primary, backup)
				for _, r := range together(t.Context(), cat, herd, func(int) string { return "p-1" }) {
					if failed := c.backupErr != nil; failed != (r.err != nil) || failed && !errors.Is(r.err, catalog.ErrUnavailable) {
						probe.Errorf(t, "catalog.herd", "%s, and one of %d callers got the error %v.", c.name, herd, r.err)
						break
					}
					if r.took > budget+slack {
						probe.Errorf(t, "catalog.late", "%s, and one of %d callers waited %v; the Budget is %v.", c.name, herd, r.took, budget)
						break
					}
				}
				p, b := primary.calls(), backup.calls()
				if !probe.Equal(t, "calls for a herd of 100, "+c.name, p+b, 1+c.backups, "calls") {
					probe.Errorf(t, "catalog.herd", "%s, and %d callers of one product at once made %d calls of the primary and %d of the backup; want 1 and %d.",
						c.name, herd, p, b, c.backups)
				}
			})
		})
	}
	t.Run("different products", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			c := newCatalog(&source{name: "primary", takes: 100 * ms}, &source{name: "backup"})
			for i, r := range together(t.Context(), c, 20, func(i int) string { return fmt.Sprint("p-", i) }) {
				if id := fmt.Sprint("p-", i); r.err != nil || r.Product != product(id, "primary") || r.took > 100*ms+slack {
					probe.Errorf(t, "catalog.serial", "20 callers asked for 20 products in 100ms each, and for %s Get returned %+v and the error %v after %v.", id, r.Product, r.err, r.took)
					break
				}
			}
		})
	})
}

// Many answers arrive in the same instant, each for another product, and many
// products fall back in that instant.
func TestReview_AnswersMeet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const rounds, products = 200, 16
		sources := &half{}
		cfg := config(nil, nil)
		cfg.Primary, cfg.Backup, cfg.Failures = sources, sources, 1_000_000
		c := catalog.New(cfg)
		for round := range rounds {
			id := func(i int) string { return fmt.Sprint("p-", round, "-", i) }
			for i, r := range together(t.Context(), c, products, id) {
				if r.err != nil || r.Product != product(id(i), "half") {
					probe.Fatalf(t, "catalog.serial", "%d products were asked for at once, the primary has them all, and for %s Get returned %+v and the error %v.", products, id(i), r.Answer, r.err)
				}
			}
		}
		sources.fails = true
		time.Sleep(2 * fresh)
		for round := range rounds {
			id := func(i int) string { return fmt.Sprint("p-", round, "-", i) }
			for i, r := range together(t.Context(), c, products, id) {
				if r.err != nil || r.Product != product(id(i), "half") || r.Stale != odd(id(i)) {
					probe.Fatalf(t, "catalog.serial", "%d products were asked for at once, of which neither source has half any more, and for %s Get returned %+v and the error %v.", products, id(i), r.Answer, r.err)
				}
			}
		}
	})
}

// half is a source that has all products, and later only every second one. To
// ask it twice in vain takes as long as to ask it once.
type half struct{ fails bool }

func (h *half) Product(_ context.Context, id string) (catalog.Product, error) {
	time.Sleep(2 * ms)
	if h.fails && odd(id) {
		return catalog.Product{}, errPrimary
	}
	time.Sleep(2 * ms)
	return product(id, "half"), nil
}

func odd(id string) bool { return (id[len(id)-1]-'0')%2 == 1 }

func TestReview_ACallerLeavesForItselfOnly(t *testing.T) {
	t.Run("the first of three", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			primary, backup := &source{name: "primary", takes: 150 * ms}, &source{name: "backup"}
			c := newCatalog(primary, backup)
			leaving, cancel := context.WithTimeout(t.Context(), 60*ms)
			defer cancel()
			first := goGet(leaving, c)
			synctest.Wait()
			time.Sleep(30 * ms)
			others := []<-chan result{goGet(t.Context(), c), goGet(t.Context(), c)}
			if r := <-first; !errors.Is(r.err, context.DeadlineExceeded) || r.took > 60*ms+slack {
				probe.Errorf(t, "catalog.caller_error", "the first caller had a deadline of 60ms, and Get returned the error %v after %v.", r.err, r.took)
			}
			for _, o := range others {
				if r := <-o; r.err != nil || r.Product != product("p-1", "primary") {
					probe.Errorf(t, "catalog.leader", "the first of three callers left, and another got %q and the error %v.", r.Handling, r.err)
				}
			}
			if n := primary.calls(); n != 1 {
				probe.Errorf(t, "catalog.herd", "the first of three callers left, and the primary was called %d times.", n)
			}
		})
	})
	t.Run("all three", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			primary, backup := &source{name: "primary", takes: hangs}, &source{name: "backup", takes: hangs}
			c := newCatalog(primary, backup)
			start := time.Now()
			for i := range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i+1)*40*ms)
				defer cancel()
				goGet(ctx, c)
			}
			after := quiet(primary, backup).Sub(start) - 120*ms
			if after > rollback+slack || backup.calls() > 0 {
				probe.Errorf(t, "catalog.outlives", "the last of three callers left after 120ms, and calls went on for %v; the backup was called %d times.", after, backup.calls())
			}
		})
	})
	t.Run("and another comes", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			primary, backup := &source{name: "primary", takes: 100 * ms}, &source{name: "backup", takes: 50 * ms}
			c := newCatalog(primary, backup)
			leaving, cancel := context.WithTimeout(t.Context(), 50*ms)
			defer cancel()
			first := goGet(leaving, c)
			time.Sleep(50*ms + rollback/2) // the call of the one who left is ending
			r := <-goGet(t.Context(), c)
			if <-first; r.err != nil {
				probe.Errorf(t, "catalog.leader", "a caller left, another came %v later, while the call was being cancelled, and got the error %q.", rollback/2, r.err)
			}
		})
	})
	t.Run("and two others come", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			primary, backup := &source{name: "primary", takes: 100 * ms}, &source{name: "backup", takes: 50 * ms}
			c := newCatalog(primary, backup)
			leaving, cancel := context.WithTimeout(t.Context(), 50*ms)
			defer cancel()
			first := goGet(leaving, c)
			time.Sleep(50*ms + rollback/2) // the call of the one who left is ending
			second := goGet(t.Context(), c)
			time.Sleep(2 * rollback) // now it has ended
			third := goGet(t.Context(), c)
			<-first
			for _, r := range []result{<-second, <-third} {
				if r.err != nil {
					probe.Errorf(t, "catalog.leader", "a caller left, two others came %v and %v later, and one got the error %q.", rollback/2, rollback/2+2*rollback, r.err)
				}
			}
			if n := primary.calls(); n != 2 {
				probe.Errorf(t, "catalog.herd", "a caller left; one came while that call ended and another %v after, when its own was under way, and the primary was called %d times; want 2, one for the first and one that the others share.", 2*rollback, n)
			}
		})
	})
	t.Run("before it came", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			primary, backup := &source{name: "primary", takes: 10 * ms}, &source{name: "backup"}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			r := get(ctx, newCatalog(primary, backup), "p-1")
			time.Sleep(budget)
			if n := primary.calls() + backup.calls(); n > 0 || !errors.Is(r.err, context.Canceled) {
				probe.Errorf(t, "catalog.dead_start", "the caller's context had ended before Get, which made %d calls and returned the error %v.", n, r.err)
			}
		})
	})
}

func TestReview_NotFoundIsAnAnswer(t *testing.T) {
	gone := fmt.Errorf("primary: 404: %w", catalog.ErrNotFound)
	bubble(t, func(t *testing.T) {
		primary, backup := &source{name: "primary", takes: 10 * ms}, &source{name: "backup", takes: 10 * ms}
		cfg := config(primary, backup)
		cfg.Retries, cfg.Pause = 2, ms
		c := catalog.New(cfg)
		get(t.Context(), c, "p-1")
		time.Sleep(2 * fresh)
		primary.set(10*ms, gone)
		r := get(t.Context(), c, "p-1")
		if !errors.Is(r.err, catalog.ErrNotFound) || errors.Is(r.err, catalog.ErrUnavailable) {
			probe.Errorf(t, "catalog.not_found", "the primary said ErrNotFound, and Get returned %+v and the error %v.", r.Answer, r.err)
		}
		if p, b := primary.calls()-1, backup.calls(); p != 1 || b != 0 {
			probe.Errorf(t, "catalog.not_found", "the primary said ErrNotFound, and was called %d times and the backup %d times; want 1 and 0.", p, b)
		}
		for i := range failures + 1 {
			get(t.Context(), c, fmt.Sprint("gone-", i))
		}
		before := primary.calls()
		primary.set(10*ms, nil)
		get(t.Context(), c, "p-2")
		if primary.calls() == before {
			probe.Errorf(t, "catalog.not_found", "the primary said ErrNotFound %d times, and is now left alone as if it had failed.", failures+2)
		}

		primary.set(10*ms, errPrimary)
		backup.set(10*ms, errBackup)
		if r := get(t.Context(), c, "p-1"); r.err == nil {
			probe.Errorf(t, "catalog.not_found", "the primary had said ErrNotFound, and when both failed Get still gave the old product, %v old.", r.Age)
		}
		backup.set(10*ms, catalog.ErrNotFound)
		if r := get(t.Context(), c, "p-3"); !errors.Is(r.err, catalog.ErrNotFound) || errors.Is(r.err, catalog.ErrUnavailable) {
			probe.Errorf(t, "catalog.not_found", "the primary failed and the backup said ErrNotFound, and the error is %v.", r.err)
		}
	})
}

func TestReview_StaleHasALimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		primary, backup := &source{name: "primary", takes: 10 * ms}, &source{name: "backup", takes: 10 * ms, err: errBackup}
		c := newCatalog(primary, backup)
		get(t.Context(), c, "p-1")
		primary.set(10*ms, errPrimary)
		time.Sleep(stale - time.Minute)
		for range 2 { // serving it does not make it younger
			before := backup.calls()
			r := get(t.Context(), c, "p-1")
			if r.err != nil || !r.Stale || r.Product != product("p-1", "primary") {
				probe.Errorf(t, "catalog.stale", "both sources failed, the product was kept 59m ago and may be served for an hour, and Get returned %+v and the error %v.", r.Answer, r.err)
			} else if r.Age < stale-time.Minute || r.Age > stale-time.Minute+time.Second {
				probe.Errorf(t, "catalog.stale", "the product was kept 59m ago, and its Age is %v.", r.Age)
			}
			if backup.calls() == before {
				probe.Errorf(t, "catalog.stale", "a stale answer was served, and the next Get asked no source: it is taken for fresh.")
			}
		}
		time.Sleep(2 * time.Minute)
		if r := get(t.Context(), c, "p-1"); r.err == nil {
			probe.Errorf(t, "catalog.stale_limit", "both sources failed, and Get served a product that is %v old; the limit is %v.", r.Age, stale)
		} else if !errors.Is(r.err, catalog.ErrUnavailable) {
			probe.Errorf(t, "catalog.error_lost", "both sources failed with nothing usable kept, and the error is %v: errors.Is does not find ErrUnavailable.", r.err)
		}
	})
}

func TestReview_TheBreakerOpensAndCloses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		primary, backup := &source{name: "primary", takes: 10 * ms}, &source{name: "backup", takes: 20 * ms}
		c := newCatalog(primary, backup)
		n := 0
		ask := func() result { n++; return get(t.Context(), c, fmt.Sprint("p-", n)) }
		asks := func() bool { before := primary.calls(); ask(); return primary.calls() > before }

		for _, answer := range []error{nil, catalog.ErrNotFound, nil} { // an answer in between: not in a row
			primary.set(10*ms, errPrimary)
			for range failures - 1 {
				ask()
			}
			primary.set(10*ms, answer)
			if !asks() {
				probe.Fatalf(t, "catalog.breaker", "%d calls of the primary failed since it last answered, of %d allowed, and it is left alone; no such product is an answer too.", failures-1, failures)
			}
		}
		primary.set(10*ms, errPrimary)
		for range failures {
			ask()
		}
		primary.set(10*ms, nil)
		time.Sleep(cooldown - time.Second)
		if asks() {
			probe.Errorf(t, "catalog.breaker", "%d calls of the primary failed in a row, and %v later it was called again; the Cooldown is %v.", failures, cooldown-time.Second, cooldown)
		}

		for _, state := range []string{"fails", "hangs", "answers"} {
			switch state {
			case "fails":
				primary.set(100*ms, errPrimary)
			case "hangs":
				primary.set(hangs, nil)
			case "answers":
				primary.set(100*ms, nil)
			}
			time.Sleep(cooldown + 10*ms)
			before := primary.calls()
			rs := together(t.Context(), c, 20, func(i int) string { return fmt.Sprint(state, i) })
			calls := primary.calls() - before
			if !probe.Equal(t, "calls that try a primary which "+state, calls, 1, "calls") {
				probe.Errorf(t, "catalog.probe", "the Cooldown was over and 20 callers came at once: the primary, which %s, got %d calls to try it; want 1.", state, calls)
			}
			for _, r := range rs {
				if r.err != nil {
					probe.Errorf(t, "catalog.probe", "while one call tried the primary, another caller got the error %q instead of the backup's answer.", r.err)
					break
				}
			}
			primary.set(10*ms, nil)
			if again := asks(); again != (state == "answers") {
				probe.Errorf(t, "catalog.probe", "a primary that %s was tried after the Cooldown, and the next Get called it: %t.", state, again)
			}
		}
		// The breaker is closed: no more tries one at a time, and no old failures.
		primary.set(100*ms, nil)
		before := primary.calls()
		together(t.Context(), c, 20, func(i int) string { return fmt.Sprint("closed", i) })
		if calls := primary.calls() - before; calls != 20 {
			probe.Errorf(t, "catalog.probe", "a primary answered the call that tried it, 20 callers came for 20 products at once, and %d of them asked it: the breaker is not closed.", calls)
		}
		primary.set(10*ms, errPrimary)
		for range failures - 1 {
			ask()
		}
		if !asks() {
			probe.Errorf(t, "catalog.breaker", "the breaker had closed, %d calls of the primary failed since, of %d allowed, and it is left alone.", failures-1, failures)
		}
	})
}

func TestReview_TheBreakerJudgesThePrimaryOnly(t *testing.T) {
	leave := func(t *testing.T, c *catalog.Catalog, id string, after time.Duration) {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		defer cancel()
		get(ctx, c, id)
		time.Sleep(2 * rollback)
	}
	for _, kind := range []string{"the context's error", "an error of the client's own"} {
		t.Run("callers who leave are no failures, "+kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				primary, backup := &source{name: "primary", takes: 150 * ms}, &source{name: "backup", takes: 10 * ms}
				cfg := config(primary, backup)
				if kind != "the context's error" {
					cfg.Primary = ownErrors{primary}
				}
				c := catalog.New(cfg)
				for i := range 2 * failures {
					leave(t, c, fmt.Sprint("p-", i), 50*ms)
				}
				before := primary.calls()
				r := get(t.Context(), c, "p-last")
				if primary.calls() == before || r.Product != product("p-last", "primary") {
					probe.Errorf(t, "catalog.blames", "%d callers left after 50ms, before the primary could answer in 150ms, and now it is left alone as if it had failed; its cancelled calls end with %s.", 2*failures, kind)
				}
			})
		})
	}
	t.Run("callers who leave are no successes", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			primary, backup := &source{name: "primary", takes: hangs}, &source{name: "backup", takes: 10 * ms}
			c := newCatalog(primary, backup)
			for i := range failures - 1 {
				get(t.Context(), c, fmt.Sprint("p-", i))
			}
			leave(t, c, "p-leaves", 50*ms)
			get(t.Context(), c, "p-waits")
			before := primary.calls()
			get(t.Context(), c, "p-next")
			if n := primary.calls() - before; n > 0 {
				probe.Errorf(t, "catalog.forgives", "the primary hung %d times, and once before the last of them a caller left after 50ms: it was called again, as if it had answered that caller.", failures)
			}
			time.Sleep(cooldown + 10*ms)
			leave(t, c, "p-leaves-again", 50*ms)
			before = primary.calls()
			together(t.Context(), c, 20, func(i int) string { return fmt.Sprint("p-then-", i) })
			if n := primary.calls() - before; n > 1 {
				probe.Errorf(t, "catalog.forgives", "the caller whose call tried a hung primary left after 50ms, and of the next 20 callers %d called it; want 1 at most.", n)
			}
		})
	})
	t.Run("the caller whose call tries it leaves", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			primary, backup := &source{name: "primary", takes: 10 * ms, err: errPrimary}, &source{name: "backup", takes: 10 * ms}
			c := newCatalog(primary, backup)
			for i := range failures {
				get(t.Context(), c, fmt.Sprint("p-", i))
			}
			time.Sleep(cooldown + 10*ms)
			primary.set(150*ms, nil)
			leave(t, c, "p-leaves", 50*ms)
			tried := false
			for i := range 4 { // at the latest after another Cooldown
				before := primary.calls()
				get(t.Context(), c, fmt.Sprint("p-after-", i))
				tried = tried || primary.calls() > before
				time.Sleep(cooldown/2 + 10*ms)
			}
			if !tried {
				probe.Errorf(t, "catalog.probe_lost", "the caller whose call tried the primary left, and in two Cooldowns nobody tried it again.")
			}
		})
	})
	t.Run("left alone, nobody waits for it", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			primary, backup := &source{name: "primary", takes: 10 * ms}, &source{name: "backup", takes: 10 * ms, err: errBackup}
			c := newCatalog(primary, backup)
			get(t.Context(), c, "p-old")
			time.Sleep(2 * fresh)
			primary.set(hangs, nil)
			for i := range failures {
				get(t.Context(), c, fmt.Sprint("p-", i))
			}
			r := get(t.Context(), c, "p-old")
			if r.err != nil || !r.Stale || r.took > 10*ms+slack {
				probe.Errorf(t, "catalog.breaker", "the primary is left alone and the backup fails after 10ms: Get gave %+v and the error %v after %v.", r.Answer, r.err, r.took)
			}
		})
	})
}

func TestReview_RetriesAreJitteredAndBudgeted(t *testing.T) {
	t.Run("pauses", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			const gets, retries, pause = 20, 2, 50 * ms
			primary, backup := &source{name: "primary", takes: 5 * ms, err: errPrimary}, &source{name: "backup", takes: 5 * ms}
			cfg := config(primary, backup)
			cfg.Failures, cfg.Retries, cfg.Pause = 1000, retries, pause
			c := catalog.New(cfg)
			pauses := map[time.Duration]bool{}
			for i := range gets {
				before := primary.calls()
				get(t.Context(), c, fmt.Sprint("p-", i))
				begun := primary.since(before)
				if len(begun) != 1+retries {
					probe.Fatalf(t, "catalog.retries", "with Retries %d the failing primary was called %d times in one Get; want %d.", retries, len(begun), 1+retries)
				}
				for k := range retries {
					p := begun[k+1].Sub(begun[k]) - 5*ms
					pauses[p] = true
					if p > pause+ms {
						probe.Fatalf(t, "catalog.retries", "the primary was called again after a pause of %v; Pause is %v.", p, pause)
					}
				}
			}
			if !probe.AtLeast(t, "different pauses among 40", len(pauses), 10, "pauses") {
				probe.Errorf(t, "catalog.jitter", "%d retries waited for %d different pauses: all who failed together come back together.", gets*retries, len(pauses))
			}
		})
	})
	t.Run("budget", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			primary, backup := &source{name: "primary", takes: 5 * ms, err: errPrimary}, &source{name: "backup", takes: 150 * ms}
			cfg := config(primary, backup)
			cfg.Failures, cfg.Retries, cfg.Pause = 10000, 1000, 300*ms
			c := catalog.New(cfg)
			for i := range 5 {
				id := fmt.Sprint("p-", i)
				r := get(t.Context(), c, id)
				if r.err != nil || r.took > budget+slack || r.Product != product(id, "backup") {
					probe.Errorf(t, "catalog.retry_budget", "the primary failed each time, with retries for longer than the Budget of %v; the backup needs 150ms. Get returned %+v and the error %v after %v.", budget, r.Product, r.err, r.took)
				}
			}
		})
	})
	t.Run("breaker", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			primary, backup := &source{name: "primary", takes: 5 * ms, err: errPrimary}, &source{name: "backup", takes: 5 * ms, err: errBackup}
			cfg := config(primary, backup)
			cfg.Retries, cfg.Pause = 2*failures, 2*ms
			c := catalog.New(cfg)
			r := get(t.Context(), c, "p-1")
			if n := primary.calls(); !probe.Equal(t, "calls of a failing primary, with retries", n, failures, "calls") {
				probe.Errorf(t, "catalog.breaker", "with Retries %d one Get called the failing primary %d times: after %d failed calls in a row it is left alone, and so are the tries.", cfg.Retries, n, failures)
			}
			for _, want := range []error{catalog.ErrUnavailable, errPrimary, errBackup} {
				if !errors.Is(r.err, want) {
					probe.Errorf(t, "catalog.error_lost", "both sources failed, the primary so often that it is left alone now, and the error is %v: errors.Is does not find %q.", r.err, want)
				}
			}
			time.Sleep(cooldown + 10*ms)
			before := primary.calls()
			get(t.Context(), c, "p-2")
			if n := primary.calls() - before; n != 1 {
				probe.Errorf(t, "catalog.probe", "the Cooldown was over, and with Retries %d one Get called the failing primary %d times; want a single call that tries it.", cfg.Retries, n)
			}
		})
	})
	t.Run("the caller leaves in a pause", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			for i := range 5 {
				primary, backup := &source{name: "primary", takes: 5 * ms, err: errPrimary}, &source{name: "backup", takes: 5 * ms}
				cfg := config(primary, backup)
				cfg.Failures, cfg.Retries, cfg.Pause = 10000, 1000, 100*ms
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(20+i)*ms)
				r := get(ctx, catalog.New(cfg), "p-1")
				cancel()
				calls := primary.calls()
				time.Sleep(3 * budget)
				if more := primary.calls() + backup.calls() - calls; more > 0 || r.took > time.Duration(20+i)*ms+slack {
					probe.Errorf(t, "catalog.outlives", "the caller left after %v between two tries of the primary; Get returned after %v, and %d more calls were made.", time.Duration(20+i)*ms, r.took, more)
				}
			}
		})
	})
}

// TestReview_ARealPrimaryHearsOfIt has a primary over HTTP on loopback that
// hangs. It hears when its half of the Budget is over, and when the caller
// leaves.
func TestReview_ARealPrimaryHearsOfIt(t *testing.T) {
	// This clock is real: on a busy machine the share may be over before the
	// call has arrived, and then it is tried again with more time.
	for _, c := range []struct {
		name    string
		budgets []time.Duration
	}{{"its share is used up", []time.Duration{200 * ms, 2 * time.Second, 5 * time.Second}}, {"the caller leaves", []time.Duration{time.Hour}}} {
		t.Run(c.name, func(t *testing.T) {
			entered, heard, over := make(chan struct{}, 9), make(chan struct{}, 9), make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				entered <- struct{}{}
				select {
				case <-r.Context().Done():
					heard <- struct{}{}
				case <-over:
				}
			}))
			defer server.Close()
			defer sync.OnceFunc(func() { close(over) })()
			cfg := config(nil, nil)
			cfg.Primary, cfg.Backup = client(server.URL), ready{}
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			var start time.Time
			var done <-chan result
			arrived := false
			for _, cfg.Budget = range c.budgets {
				start = time.Now()
				done = goGet(ctx, catalog.New(cfg))
				if arrived = within(entered); arrived {
					break
				}
			}
			if !arrived {
				probe.Fatalf(t, "catalog.order", "the primary is an HTTP server, and 3s after Get nobody had called it.")
			}
			if cfg.Budget == time.Hour {
				leave()
			}
			if !within(heard) {
				probe.Fatalf(t, "catalog.cancel_lost", "%s, and 3s later the HTTP server had not heard of it.", c.name)
			}
			select {
			case r := <-done:
				if cfg.Budget == time.Hour && !errors.Is(r.err, context.Canceled) {
					probe.Errorf(t, "catalog.caller_error", "the caller cancelled, and the error is %v.", r.err)
				}
				// This clock is real: a busy machine may use the Budget up. That
				// it is shared rightly is shown in fake time.
				busy := r.err != nil && time.Since(start) >= cfg.Budget
				if cfg.Budget < time.Hour && !busy && (r.err != nil || r.Product != product("p-1", "backup")) {
					probe.Errorf(t, "catalog.share", "the HTTP server hung for half the Budget, and Get returned %q and the error %v; want the backup's answer.", r.Handling, r.err)
				}
			case <-time.After(3 * time.Second):
				probe.Errorf(t, "catalog.late", "%s, the HTTP server had heard of it, and 3s later Get was not back.", c.name)
			}
		})
	}
}

// TestReview_ThePauseMayBeZero comes last: code that panics here ends the
// process.
func TestReview_ThePauseMayBeZero(t *testing.T) {
	bubble(t, func(t *testing.T) {
		primary, backup := &source{name: "primary", takes: 5 * ms, err: errPrimary}, &source{name: "backup", takes: 5 * ms}
		cfg := config(primary, backup)
		cfg.Failures, cfg.Retries, cfg.Pause = 100, 2, 0
		r := get(t.Context(), catalog.New(cfg), "p-1")
		if n := primary.calls(); n != 3 || r.err != nil {
			probe.Errorf(t, "catalog.retries", "with Retries 2 and no Pause the failing primary was called %d times, and Get returned the error %v; want 3 calls and the backup's answer.", n, r.err)
		}
	})
}

func within(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-time.After(3 * time.Second):
		return false
	}
}

// client is a source over HTTP, as a service has it.
type client string

func (url client) Product(ctx context.Context, id string) (p catalog.Product, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, string(url)+"/products/"+id, nil)
	if err != nil {
		return p, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return p, err
	}
	defer resp.Body.Close()
	return p, json.NewDecoder(resp.Body).Decode(&p)
}

// ownErrors is a source whose errors are its own, even when its context has
// ended. gRPC's are such.
type ownErrors struct{ *source }

func (s ownErrors) Product(ctx context.Context, id string) (catalog.Product, error) {
	p, err := s.source.Product(ctx, id)
	if err != nil {
		err = errors.New("rpc error: " + err.Error())
	}
	return p, err
}

// ready is a backup that answers at once.
type ready struct{}

func (ready) Product(ctx context.Context, id string) (catalog.Product, error) {
	return product(id, "backup"), ctx.Err()
}

// since returns when the calls after the first n began.
func (s *source) since(n int) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.begun[n:])
}

// goGet gets p-1 in a goroutine of its own.
func goGet(ctx context.Context, c *catalog.Catalog) <-chan result {
	done := make(chan result, 1)
	go func() { done <- get(ctx, c, "p-1") }()
	return done
}

// together lets n callers come at the same time.
func together(ctx context.Context, c *catalog.Catalog, n int, id func(int) string) []result {
	rs := make([]result, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { rs[i] = get(ctx, c, id(i)) })
	}
	wg.Wait()
	return rs
}
