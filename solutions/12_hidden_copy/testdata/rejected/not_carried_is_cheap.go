// finding: prices.wrong
//
// A zone that does not carry the parcel has the lowest price of all, 0.

// Package prices is dispatchd's price table: what a parcel costs, by the zone
// it goes to and by its weight. Each order that comes in is quoted several
// times, and once a day somebody changes a discount.
package prices

import (
	"errors"
	"iter"
	"slices"
	"sync"
)

const (
	Steps     = 500 // prices in a tariff
	StepGrams = 100 // what one step weighs
	MaxGrams  = Steps * StepGrams
)

// ErrNoPrice says that no tariff has a price for the zone and the weight.
var ErrNoPrice = errors.New("prices: no price")

// Tariff is what a zone costs. It has about 4 KiB.
type Tariff struct {
	Zone    string
	Region  string
	Percent int          // the discount
	Cents   [Steps]int64 // for up to 100 g, up to 200 g and so on; 0: not carried
}

// Price gives the cents for a parcel, less the discount, rounded down. It is 0
// where the tariff has none, and for weights below 1 or above MaxGrams.
func (t *Tariff) Price(grams int) int64 {
	if grams < 1 || grams > MaxGrams {
		return 0
	}
	return t.Cents[(grams-1)/StepGrams] * int64(100-t.Percent) / 100
}

// Table holds the tariffs of all zones. It may be used from several goroutines
// at once. Make one with New.
type Table struct {
	mu      sync.RWMutex
	tariffs []Tariff
}

// New makes a table with a copy of the tariffs, in their order. Zones differ.
func New(tariffs []Tariff) *Table {
	return &Table{tariffs: slices.Clone(tariffs)}
}

// Quote gives the cents for a parcel to a zone, or ErrNoPrice.
func (t *Table) Quote(zone string, grams int) (int64, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for i := range t.tariffs {
		tariff := &t.tariffs[i]
		if tariff.Zone == zone {
			if cents := tariff.Price(grams); cents > 0 {
				return cents, nil
			}
		}
	}
	return 0, ErrNoPrice
}

// Cheapest gives the zone with the lowest price for a parcel, the first of
// several, or ErrNoPrice.
func (t *Table) Cheapest(grams int) (zone string, cents int64, err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for i := range t.tariffs {
		tariff := &t.tariffs[i]
		if c := tariff.Price(grams); cents == 0 || c < cents {
			zone, cents = tariff.Zone, c
		}
	}
	if cents == 0 {
		return "", 0, ErrNoPrice
	}
	return zone, cents, nil
}

// Discount gives all tariffs of a region the same discount in percent, in
// place of the one they had, and says how many there are. A reader sees it in
// all of them or in none.
func (t *Table) Discount(region string, percent int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for i := range t.tariffs {
		if t.tariffs[i].Region == region {
			t.tariffs[i].Percent = percent
			n++
		}
	}
	return n
}

// All yields the table's own tariffs in their order, not copies of them. They
// may be read until the loop goes on. The body must not call a method of the
// table, whether Discount or one that reads: another goroutine's Discount may
// wait for the end of the loop, and a reader that comes now waits behind it.
func (t *Table) All() iter.Seq[*Tariff] {
	return func(yield func(*Tariff) bool) {
		t.mu.RLock()
		defer t.mu.RUnlock()
		for i := range t.tariffs {
			if !yield(&t.tariffs[i]) {
				return
			}
		}
	}
}
