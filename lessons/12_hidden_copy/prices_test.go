package prices_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pitstop/checker/probe"
	prices "pitstop/lessons/12_hidden_copy"
)

const zones = 256

func TestTable_Quotes(t *testing.T) {
	table := prices.New(tariffs())
	for _, c := range []struct {
		zone  string
		grams int
		want  int64
	}{
		{zone(0), 1, centsOf(0, 1)}, {zone(3), 100, centsOf(3, 100)}, {zone(3), 101, centsOf(3, 101)},
		{zone(zones - 1), prices.MaxGrams, centsOf(zones-1, prices.MaxGrams)},
	} {
		if got, err := table.Quote(c.zone, c.grams); err != nil || got != c.want {
			probe.Errorf(t, "prices.wrong", "%d g to %s cost %d cents with the error %v; %d is right.", c.grams, c.zone, got, err, c.want)
		}
	}
	if at, cents, err := table.Cheapest(750); err != nil || at != zone(cheapest) || cents != centsOf(cheapest, 750) {
		probe.Errorf(t, "prices.wrong", "the cheapest zone for 750 g is %s at %d cents with the error %v; %s at %d is right.",
			at, cents, err, zone(cheapest), centsOf(cheapest, 750))
	}
}

func TestDiscount_IsKept(t *testing.T) {
	table := prices.New(tariffs())
	if n := discount(t, table, "north", 10); n != zones/2 {
		probe.Errorf(t, "prices.wrong", "Discount changed %d tariffs of the north; there are %d.", n, zones/2)
	}
	kept := 0
	for i := 0; i < zones; i += 2 {
		if got, err := table.Quote(zone(i), 1000); err == nil && got == centsOf(i, 1000)*90/100 {
			kept++
		}
	}
	if !probe.Equal(t, "discounts kept", kept, zones/2, "tariffs") {
		probe.Errorf(t, "prices.lost", "%d tariffs were given a discount of 10 %%, and %d of them quote with it: for the other %d it went into a copy.",
			zones/2, kept, zones/2-kept)
	}
}

// A tariff that is the table's own stands at the same address on each pass.
func TestAll_YieldsTheTablesOwn(t *testing.T) {
	table := prices.New(tariffs())
	first, second := slices.Collect(table.All()), slices.Collect(table.All())
	if len(first) != zones || len(second) != zones {
		probe.Fatalf(t, "prices.wrong", "All yielded %d tariffs, and %d the second time; the table has %d.", len(first), len(second), zones)
	}
	same := 0
	for i := range first {
		if first[i] == second[i] {
			same++
		}
	}
	if !probe.Equal(t, "tariffs at the same address on two passes", same, zones, "tariffs") {
		probe.Errorf(t, "prices.copies", "All was ranged over twice, and %d of %d tariffs stood at the same address: the others are copies, made for the loop.", same, zones)
	}
}

func TestCheapest_CopiesNoTariffs(t *testing.T) {
	table := prices.New(tariffs())
	checkScore(t, "Cheapest", func() { table.Cheapest(1000) })
}

// checkScore measures one pass over all tariffs, and fails it where it takes
// nearly as long as a pass that copies each of them once.
func checkScore(t *testing.T, name string, pass func()) {
	t.Helper()
	needsPlainTime(t)
	s := measure(pass)
	if !probe.AtMost(t, name+": from no copies (0) to one of each tariff (1)", s.score(), limit, "") {
		probe.Errorf(t, "prices.slow", "%s takes %v for %d tariffs. A pass without copies takes %v here, and one that copies each tariff once %v: that is %.1f on the way from one to the other.",
			name, s.pass, zones, s.without, s.with, s.score())
	}
}

const limit = 0.5 // a pass without copies is near 0, one with them near 1

// sample holds the shortest times seen. The three are measured in turn, in one
// process, so that what slows down the machine slows all of them.
type sample struct{ pass, without, with time.Duration }

func (s sample) score() float64 {
	return max(0, float64(s.pass-s.without)/float64(max(s.with-s.without, 1)))
}

func measure(pass func()) sample {
	own := tariffs()
	s := sample{pass: time.Hour, without: time.Hour, with: time.Hour}
	// A sound pass may be disturbed for a while; a copy never gets fast.
	for round := range 60 {
		s.without = min(s.without, shortest(func() {
			for i := range own {
				sink += price(&own[i], 1000)
			}
		}))
		s.with = min(s.with, shortest(func() {
			for i := range own {
				scratch = own[i]
				sink += price(&scratch, 1000)
			}
		}))
		s.pass = min(s.pass, shortest(pass))
		if round >= 9 && s.score() <= limit {
			break
		}
	}
	return s
}

func shortest(f func()) time.Duration {
	least := time.Hour
	for range 5 {
		start := time.Now()
		f()
		least = min(least, time.Since(start))
	}
	return least
}

var (
	sink    int64
	scratch prices.Tariff
)

//go:noinline
func price(t *prices.Tariff, grams int) int64 {
	return t.Cents[(grams-1)/prices.StepGrams] * int64(100-t.Percent) / 100
}

// discount calls Discount, and ends the test where it does not come back.
func discount(t *testing.T, table *prices.Table, region string, percent int) (n int) {
	t.Helper()
	within(t, "Discount", func() { n = table.Discount(region, percent) })
	return n
}

// within ends the test where f does not come back.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(4 * time.Second):
		probe.Fatalf(t, "prices.hang", "%s: no answer after 4 s.", what)
	}
}

// needsPlainTime skips a test that compares times when the race detector is on:
// it looks at each access, and at a copy as a whole.
func needsPlainTime(t *testing.T) {
	t.Helper()
	if probe.Race {
		t.Skip("times mean nothing under -race; run this one without it")
	}
}

const cheapest = 100

func zone(i int) string { return fmt.Sprintf("zone-%03d", i) }

// centsOf is the price in tariff i without a discount.
func centsOf(i, grams int) int64 {
	step := int64((grams-1)/prices.StepGrams + 1)
	if i == cheapest {
		return 200 * step
	}
	return int64(300+i) * step
}

// tariffs makes the tariffs of 256 zones, in turn of the north and the south.
func tariffs() []prices.Tariff {
	list := make([]prices.Tariff, zones)
	for i := range list {
		list[i].Zone, list[i].Region = zone(i), [2]string{"north", "south"}[i%2]
		for step := range list[i].Cents {
			list[i].Cents[step] = centsOf(i, (step+1)*prices.StepGrams)
		}
	}
	return list
}
