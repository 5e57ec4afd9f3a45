//go:build review

package prices_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pitstop/checker/probe"
	prices "pitstop/lessons/12_hidden_copy"
)

// still is how long no call may return before they count as stuck.
var still = probe.Patience{Full: 4 * time.Second, Short: 400 * time.Millisecond}

func TestReview_NoPassCopiesTariffs(t *testing.T) {
	table := prices.New(tariffs())
	own := tariffs()
	for _, p := range []struct {
		name string
		pass func()
	}{
		{"Quote of the last zone", func() { table.Quote(zone(zones-1), 1000) }},
		{"Quote of a zone that is unknown", func() { table.Quote("nowhere", 1000) }},
		{"All", func() {
			for tariff := range table.All() {
				sink += int64(tariff.Percent)
			}
		}},
		{"Price", func() {
			for i := range own {
				sink += own[i].Price(1000)
			}
		}},
	} {
		t.Run(p.name, func(t *testing.T) { checkScore(t, p.name, p.pass) })
	}
}

func TestReview_NoPassAllocates(t *testing.T) {
	probe.NeedsPlainHeap(t)
	const limit = 1 << 10 // bytes: a quarter of a tariff
	table := prices.New(tariffs())
	for _, p := range []struct {
		name string
		pass func()
	}{
		{"Quote", func() { table.Quote(zone(zones-1), 1000) }},
		{"Cheapest", func() { table.Cheapest(1000) }},
		{"All", func() {
			for tariff := range table.All() {
				sink += int64(tariff.Percent)
			}
		}},
	} {
		least := ^uint64(0)
		p.pass()
		for range 5 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			p.pass()
			runtime.ReadMemStats(&after)
			least = min(least, after.TotalAlloc-before.TotalAlloc)
		}
		if !probe.AtMost(t, p.name+": bytes allocated by a pass", least, limit, "B") {
			probe.Errorf(t, "prices.allocates", "a pass of %s over %d tariffs allocates %s; it needs nothing, and may take %s.", p.name, zones, probe.Bytes(least), probe.Bytes(limit))
		}
	}
}

func TestReview_TableIsItsOwn(t *testing.T) {
	list := tariffs()
	table := prices.New(list)
	for i := range list {
		list[i].Cents[9], list[i].Zone = 1, "changed"
	}
	if got, err := table.Quote(zone(5), 1000); err != nil || got != centsOf(5, 1000) {
		probe.Errorf(t, "prices.aliased", "the caller of New used the slice again, and %s now costs %d cents with the error %v instead of %d: the table holds the caller's tariffs.",
			zone(5), got, err, centsOf(5, 1000))
	}
	other := prices.New(tariffs())
	discount(t, other, "north", 50)
	if got, _ := prices.New(tariffs()).Quote(zone(0), 1000); got != centsOf(0, 1000) {
		probe.Errorf(t, "prices.aliased", "a discount in one table changed the price in another.")
	}
}

func TestReview_DiscountIsSeenEverywhere(t *testing.T) {
	table := prices.New(tariffs())
	table.Cheapest(1000)
	table.Quote(zone(0), 1000)
	for range table.All() {
	}

	// cheapest is in the north. With 40 % off, zone 1 is the cheapest of the south.
	steps := []struct {
		region  string
		percent int
		zone    string
		cents   int64
	}{
		{"south", 40, zone(1), centsOf(1, 1000) * 60 / 100},
		{"north", 20, zone(cheapest), centsOf(cheapest, 1000) * 80 / 100},
		{"north", 0, zone(1), centsOf(1, 1000) * 60 / 100},
		{"south", 0, zone(cheapest), centsOf(cheapest, 1000)},
	}
	percent := map[string]int{}
	for _, s := range steps {
		percent[s.region] = s.percent
		if n := discount(t, table, s.region, s.percent); n != zones/2 {
			probe.Errorf(t, "prices.wrong", "Discount changed %d tariffs of the %s; there are %d.", n, s.region, zones/2)
		}
		if at, cents, err := table.Cheapest(1000); err != nil || at != s.zone || cents != s.cents {
			probe.Errorf(t, "prices.stale", "after a discount of %d %% for the %s, Cheapest gives %s at %d cents with the error %v; %s at %d is right.",
				s.percent, s.region, at, cents, err, s.zone, s.cents)
		}
		for _, i := range []int{0, 1, zones - 2, zones - 1} {
			want := centsOf(i, 1000) * int64(100-percent[[2]string{"north", "south"}[i%2]]) / 100
			if got, err := table.Quote(zone(i), 1000); err != nil || got != want {
				probe.Errorf(t, "prices.lost", "after a discount of %d %% for the %s, %s costs %d cents with the error %v; %d is right.", s.percent, s.region, zone(i), got, err, want)
			}
		}
		for tariff := range table.All() {
			if tariff.Percent != percent[tariff.Region] {
				probe.Errorf(t, "prices.lost", "after a discount of %d %% for the %s, All yields %s with %d %% instead of %d.",
					s.percent, s.region, tariff.Zone, tariff.Percent, percent[tariff.Region])
				break
			}
		}
	}
	if n := discount(t, table, "west", 10); n != 0 {
		probe.Errorf(t, "prices.wrong", "Discount changed %d tariffs of a region that has none.", n)
	}
}

// A discount that comes while All is half way through waits, or is not seen.
func TestReview_PassSeesOneTable(t *testing.T) {
	table := prices.New(tariffs())
	i, changed := 0, 0
	discounted := make(chan struct{})
	within(t, "a pass of All, with a Discount in the middle", func() {
		for tariff := range table.All() {
			if i == zones/2 {
				go func() {
					defer close(discounted)
					table.Discount("north", 10)
				}()
				select {
				case <-discounted:
				case <-time.After(50 * time.Millisecond): // it waits for the pass
				}
			}
			if tariff.Percent != 0 {
				changed++
			}
			i++
		}
	})
	within(t, "Discount, after the pass of All had ended", func() { <-discounted })
	if !probe.Equal(t, "tariffs changed under a pass", changed, 0, "tariffs") {
		probe.Errorf(t, "prices.torn", "a discount came in the middle of a pass of All, and the pass saw it in %d tariffs and not in those before.", changed)
	}
	seen := 0
	within(t, "All", func() {
		for tariff := range table.All() {
			if tariff.Percent == 10 {
				seen++
			}
		}
	})
	if seen != zones/2 {
		probe.Errorf(t, "prices.lost", "a discount that came in the middle of a pass of All is in %d of %d tariffs afterwards.", seen, zones/2)
	}
}

func TestReview_BreakEndsThePass(t *testing.T) {
	table := prices.New(tariffs())
	n := 0
	for range table.All() {
		if n++; n == 3 {
			break
		}
	}
	within(t, "Discount, after a loop over All was left with break", func() { table.Discount("north", 10) })
	within(t, "Quote, after a loop over All was left with break", func() { table.Quote(zone(0), 1000) })
}

// The race detector watches this one. Each table has one reader and one writer
// and nothing else: what other calls do would be order between the two.
func TestReview_ReadersAndDiscounts(t *testing.T) {
	const rounds = 40
	for _, r := range []struct {
		name string
		read func(*prices.Table) (torn bool)
	}{
		{"Quote", func(table *prices.Table) bool {
			table.Quote(zone(zones-2), 1000)
			return false
		}},
		{"Cheapest", func(table *prices.Table) bool {
			table.Cheapest(1000)
			return false
		}},
		{"All", func(table *prices.Table) bool {
			saw := map[int]bool{}
			for tariff := range table.All() {
				if tariff.Region == "north" {
					saw[tariff.Percent] = true
				}
			}
			return len(saw) > 1
		}},
	} {
		t.Run(r.name, func(t *testing.T) {
			table := prices.New(tariffs())
			torn := 0
			within(t, r.name+" side by side with discounts", func() {
				var wg sync.WaitGroup
				wg.Go(func() {
					for range rounds {
						if r.read(table) {
							torn++
						}
						runtime.Gosched()
					}
				})
				wg.Go(func() {
					for n := range rounds {
						table.Discount("north", n)
						runtime.Gosched()
					}
				})
				wg.Wait()
			})
			if torn > 0 {
				probe.Errorf(t, "prices.torn", "%d of %d passes of %s saw more than one discount in one region.", torn, rounds, r.name)
			}
		})
	}
}

// Each region has a goroutine that gives it discounts, all at the same time.
func TestReview_DiscountsAtOnce(t *testing.T) {
	const regions, most = 8, 200
	list := tariffs()[:64] // few, for the sake of mends that copy them
	for i := range list {
		list[i].Region = region(i % regions)
	}
	table := prices.New(list)
	given, kept := 0, 0
	for round := 0; round < most && kept == given; round++ {
		var wg sync.WaitGroup
		gate := make(chan struct{})
		for r := range regions {
			wg.Go(func() {
				<-gate
				table.Discount(region(r), round%90+1)
			})
		}
		within(t, "discounts for several regions at once", func() {
			close(gate)
			wg.Wait()
		})
		lost := map[string]bool{}
		for tariff := range table.All() {
			if tariff.Percent != round%90+1 {
				lost[tariff.Region] = true
			}
		}
		given, kept = given+regions, kept+regions-len(lost)
	}
	if !probe.Equal(t, "discounts lost that came at the same time as others", given-kept, 0, "discounts") {
		probe.Errorf(t, "prices.lost", "%d regions were given a discount at the same time, %d times over, and %d of %d discounts were kept: the others were taken back by one that came at the same time.",
			regions, given/regions, kept, given)
	}
}

func region(i int) string { return fmt.Sprintf("region %d", i) }

// Where one discount follows the other, somebody always waits for the lock. A
// reader that has it and asks for it again waits behind them, and they for it.
func TestReview_ReadersAmongDiscounts(t *testing.T) {
	const writers = 2
	const meetings, most = 50, 20_000 // reads during which a discount came to its end, and reads in all
	for _, r := range []struct {
		name string
		read func(*prices.Table)
	}{
		{"Quote", func(table *prices.Table) { table.Quote(zone(62), 1000) }},
		{"Cheapest", func(table *prices.Table) { table.Cheapest(1000) }},
		{"All", func(table *prices.Table) {
			for range table.All() {
			}
		}},
	} {
		t.Run(r.name, func(t *testing.T) {
			table := prices.New(tariffs()[:64])
			standing := probe.Baseline()
			var reads, discounts atomic.Int64
			var writing sync.WaitGroup
			stop, done := make(chan struct{}), make(chan struct{})
			for range writers {
				writing.Go(func() {
					for n := 0; ; n++ {
						select {
						case <-stop:
							return
						default:
							table.Discount("north", n%90)
							discounts.Add(1)
						}
					}
				})
			}
			go func() {
				for met := 0; met < meetings && reads.Add(1) <= most; {
					before := discounts.Load()
					r.read(table)
					if discounts.Load() != before {
						met++
					}
				}
				close(stop)
				writing.Wait()
				close(done)
			}()
			for last := int64(-1); ; {
				select {
				case <-done:
					return
				case <-time.After(still.Limit()):
				}
				now := reads.Load() + discounts.Load()
				if now == last {
					still.InVain()
					probe.Fatalf(t, "prices.hang", "one goroutine called %s and %d called Discount, over and over, until none of them moved any more: %s.",
						r.name, writers, probe.Where(slices.DeleteFunc(standing(t, 0), func(g probe.Goroutine) bool {
							return strings.Contains(g.At, "_test.go")
						})))
				}
				last = now
			}
		})
	}
}

func TestReview_PricesAtTheEdge(t *testing.T) {
	list := tariffs()[:4]
	list[2].Cents[4] = 0 // not carried: 500 g
	list[3].Cents[4] = 0
	list[2].Cents[0] = 333 // rounds
	list[2].Percent = 10
	list[0].Cents[0], list[1].Cents[0], list[3].Cents[0] = 400, 299, 299
	table := prices.New(list)
	for _, c := range []struct {
		zone  string
		grams int
		want  int64
	}{
		{zone(2), 100, 299}, {zone(2), 500, 0}, {zone(2), 501, centsOf(2, 501) * 90 / 100}, {zone(2), 0, 0}, {zone(2), -100, 0},
		{zone(2), prices.MaxGrams + 1, 0}, {zone(2), prices.MaxGrams, centsOf(2, prices.MaxGrams) * 90 / 100}, {"nowhere", 100, 0},
	} {
		got, err := table.Quote(c.zone, c.grams)
		if got != c.want || (c.want == 0) != errors.Is(err, prices.ErrNoPrice) || c.want > 0 && err != nil {
			probe.Errorf(t, "prices.wrong", "%d g to %s cost %d cents with the error %v; %d is right, and ErrNoPrice goes with 0.", c.grams, c.zone, got, err, c.want)
		}
		if c.zone == zone(2) {
			if got := list[2].Price(c.grams); got != c.want {
				probe.Errorf(t, "prices.wrong", "Price(%d) is %d; %d is right.", c.grams, got, c.want)
			}
		}
	}
	if at, cents, err := table.Cheapest(100); at != zone(1) || cents != 299 || err != nil {
		probe.Errorf(t, "prices.wrong", "three zones cost 299 cents, and Cheapest gives %q at %d with the error %v instead of the first.", at, cents, err)
	}
	if at, cents, err := table.Cheapest(500); at != zone(0) || cents != centsOf(0, 500) || err != nil {
		probe.Errorf(t, "prices.wrong", "two of four zones do not carry 500 g, and Cheapest gives %q at %d with the error %v instead of %q at %d.", at, cents, err, zone(0), centsOf(0, 500))
	}
	if at, cents, err := table.Cheapest(0); at != "" || cents != 0 || !errors.Is(err, prices.ErrNoPrice) {
		probe.Errorf(t, "prices.wrong", "Cheapest(0) gives %q at %d with the error %v instead of ErrNoPrice.", at, cents, err)
	}
	if _, _, err := prices.New(nil).Cheapest(100); !errors.Is(err, prices.ErrNoPrice) {
		probe.Errorf(t, "prices.wrong", "Cheapest of an empty table gives the error %v instead of ErrNoPrice.", err)
	}
}
