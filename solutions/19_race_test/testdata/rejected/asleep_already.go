// finding: dock.missed
//
// Gives the waiting vans a second before the bays get free. By then they sleep, and a van
// that sleeps is woken by anything: wake-ups are lost on the way there.

package dock_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	dock "pitstop/lessons/19_race_test"
)

const pause = time.Second

var signs = []string{"A1", "A2", "B1", "B2"}

func open(bays int) *dock.Dock {
	return dock.New(dock.Config{Bays: bays, Labels: func() []string { return signs }, Pause: pause})
}

// together runs f in n goroutines that begin at the same time.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

// Whoever is in a bay is alone in it, and everything adds up in the end. The
// vans use every method, so that the race detector sees each beside each.
func TestVansAreAloneInTheirBays(t *testing.T) {
	const bays, vans, visits, rounds = 4, 8, 10, 20
	for range rounds {
		var reads, given atomic.Int64
		d := dock.New(dock.Config{Bays: bays, Pause: pause, Labels: func() []string {
			reads.Add(1)
			runtime.Gosched()
			return signs
		}})
		var inside [bays]atomic.Int64
		together(vans, func(i int) {
			for visit := range visits {
				van := fmt.Sprintf("van %d, visit %d", i, visit)
				if visit == 0 && d.Label(i%bays) != signs[i%bays] {
					t.Errorf("bay %d has the wrong sign", i%bays)
				}
				bay, err := d.Take(van)
				if err != nil {
					runtime.Gosched()
					continue
				}
				given.Add(1)
				if n := inside[bay].Add(1); n != 1 {
					t.Errorf("%d vans in bay %d", n, bay)
				}
				for _, other := range d.Vans() {
					_ = other
				}
				runtime.Gosched()
				inside[bay].Add(-1)
				_ = d.Served()
				d.Leave(van)
			}
		})
		if n := d.Served(); int64(n) != given.Load() {
			t.Errorf("%d vans served by its own count, %d were", n, given.Load())
		}
		if n := reads.Load(); n > 1 {
			t.Errorf("the labels were read %d times", n)
		}
		if left := d.Vans(); len(left) != 0 {
			t.Errorf("all have left, and these are there: %v", left)
		}
		for i := range bays {
			if _, err := d.Take(fmt.Sprint("late ", i)); err != nil {
				t.Errorf("all have left, and the bays are full after %d vans", i)
			}
		}
	}
}

func TestOneVanHasOneBay(t *testing.T) {
	for range 50 {
		d := open(4)
		together(4, func(int) {
			if _, err := d.Take("van"); err != nil {
				t.Error(err)
			}
		})
		if n := d.Served(); n != 1 {
			t.Errorf("one van was served %d times", n)
		}
		for i := range 3 {
			if _, err := d.Take(fmt.Sprint("other ", i)); err != nil {
				t.Errorf("one van is there, and there is no room for %d more", i+1)
			}
		}
	}
}

func TestVansIsTheCallersOwn(t *testing.T) {
	d := open(2)
	_, _ = d.Take("a")
	before := d.Vans()
	want := maps.Clone(before)
	_, _ = d.Take("b")
	d.Leave("a")
	if !maps.Equal(before, want) {
		t.Errorf("the map changed under its reader: %v, now %v", want, before)
	}
}

// fill takes every bay; van i is called "i".
func fill(t *testing.T, d *dock.Dock, bays int) {
	for i := range bays {
		if _, err := d.Take(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWait_EveryFreeBayWakesAVan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(2)
		fill(t, d, 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() {
				if _, err := d.Wait(ctx, fmt.Sprint("waiting ", i)); err != nil {
					t.Errorf("a bay is free, and a waiting van got %v", err)
				}
			})
		}
		time.Sleep(time.Second)
		d.Leave("0")
		d.Leave("1")
		wg.Wait()
	})
}

func TestWait_WhoGivesUpTakesNoBayAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(1)
		fill(t, d, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		impatient, giveUp := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := d.Wait(impatient, "impatient"); !errors.Is(err, context.Canceled) {
				t.Errorf("the van that gave up got %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := d.Wait(ctx, "patient"); err != nil {
				t.Errorf("the bay is free, and the waiting van got %v", err)
			}
		})
		synctest.Wait()
		giveUp()
		synctest.Wait()
		d.Leave("0")
		wg.Wait()
	})
}

func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(1)
		fill(t, d, 1)

		start := time.Now()
		if _, err := d.Retry(t.Context(), "late"); !errors.Is(err, dock.ErrFull) {
			t.Errorf("Retry in a full dock gave %v", err)
		}
		if took := time.Since(start); took != 7*pause {
			t.Errorf("four tries took %s, want %s", took, 7*pause)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 2*pause)
		defer cancel()
		start = time.Now()
		if _, err := d.Retry(ctx, "late"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Retry under a deadline gave %v", err)
		}
		if took := time.Since(start); took != 2*pause {
			t.Errorf("Retry ended %s after a deadline of %s", took, 2*pause)
		}

		go func() {
			time.Sleep(2 * pause)
			d.Leave("0")
		}()
		start = time.Now()
		if _, err := d.Retry(t.Context(), "late"); err != nil {
			t.Errorf("a bay got free, and Retry gave %v", err)
		}
		if took := time.Since(start); took != 3*pause {
			t.Errorf("Retry found the bay after %s, want %s", took, 3*pause)
		}
	})
}
