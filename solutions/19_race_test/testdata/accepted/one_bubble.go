package dock_test

// Everything in bubbles: vans come at the same instant and stay for a second,
// so that who is beside whom is the same in each run.

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	dock "pitstop/lessons/19_race_test"
)

type depot struct {
	*dock.Dock
	labels atomic.Int32
}

func inBubble(t *testing.T, bays int, f func(t *testing.T, d *depot)) {
	t.Helper()
	for range 10 {
		synctest.Test(t, func(t *testing.T) {
			d := &depot{}
			d.Dock = dock.New(dock.Config{Bays: bays, Pause: time.Second, Labels: func() []string {
				d.labels.Add(1)
				runtime.Gosched()
				return make([]string, bays)
			}})
			f(t, d)
		})
	}
}

func TestRush(t *testing.T) {
	inBubble(t, 5, func(t *testing.T, d *depot) {
		var mu sync.Mutex
		var given []int
		var full int
		for i := range 20 {
			go func() {
				time.Sleep(time.Second)
				bay, err := d.Take(fmt.Sprint("van ", i))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					full++
					return
				}
				given = append(given, bay)
			}()
			go func() {
				time.Sleep(time.Second)
				for van, bay := range d.Vans() {
					_, _ = van, bay
				}
				_ = d.Label(i % 5)
				_ = d.Served()
			}()
		}
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(given)
		if !slices.Equal(given, []int{0, 1, 2, 3, 4}) || full != 15 {
			t.Errorf("20 vans came to 5 bays: bays %v given, %d refused", given, full)
		}
		if n := d.Served(); n != 5 {
			t.Errorf("served %d", n)
		}
		if n := d.labels.Load(); n != 1 {
			t.Errorf("labels read %d times", n)
		}
		// All leave at once.
		vans := d.Vans()
		for van := range vans {
			go d.Leave(van)
		}
		synctest.Wait()
		if len(vans) != 5 || len(d.Vans()) != 0 {
			t.Errorf("%d then, %d now", len(vans), len(d.Vans()))
		}
		for i := range 5 {
			if _, err := d.Take(fmt.Sprint("late ", i)); err != nil {
				t.Errorf("all have left: %v", err)
			}
		}
	})
}

func TestSameVan(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, d *depot) {
		for range 10 {
			go func() {
				time.Sleep(time.Second)
				if _, err := d.Take("v"); err != nil {
					t.Error(err)
				}
			}()
		}
		time.Sleep(time.Minute)
		if d.Served() != 1 || len(d.Vans()) != 1 {
			t.Errorf("one van: served %d, in the dock %v", d.Served(), d.Vans())
		}
		_, one := d.Take("w")
		_, two := d.Take("x")
		if err := errors.Join(one, two); err != nil {
			t.Errorf("one of three bays is taken: %v", err)
		}
	})
}

func TestQueue(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, d *depot) {
		for i := range 4 {
			if _, err := d.Take(fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		var got, gone atomic.Int32
		for i := range 8 {
			deadline := time.Minute
			if i%2 == 0 {
				deadline = time.Second
			}
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				if _, err := d.Wait(ctx, fmt.Sprint("w", i)); err == nil {
					got.Add(1)
				} else {
					gone.Add(1)
				}
			}()
		}
		time.Sleep(2 * time.Second)
		for i := range 4 {
			d.Leave(fmt.Sprint(i))
		}
		time.Sleep(2 * time.Minute)
		if got.Load() != 4 || gone.Load() != 4 {
			t.Errorf("4 gave up and 4 bays got free for the others: %d have one, %d have none", got.Load(), gone.Load())
		}
	})
}

// Bays get free in the very moment in which vans come for them.
func TestNoTimeBetween(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, d *depot) {
		for i := range 3 {
			if _, err := d.Take(fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		var got atomic.Int32
		for i := range 3 {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if _, err := d.Wait(ctx, fmt.Sprint("w", i)); err == nil {
					got.Add(1)
				}
			}()
		}
		synctest.Wait()
		for i := range 3 {
			d.Leave(fmt.Sprint(i))
		}
		time.Sleep(2 * time.Minute)
		if got.Load() != 3 {
			t.Errorf("3 bays got free for 3 vans, and %d have one", got.Load())
		}
	})
}

func TestPauses(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, d *depot) {
		_, _ = d.Take("in")
		for deadline, want := range map[time.Duration]error{
			time.Hour: dock.ErrFull, 7500 * time.Millisecond: dock.ErrFull,
			6500 * time.Millisecond: context.DeadlineExceeded, 1500 * time.Millisecond: context.DeadlineExceeded,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			start := time.Now()
			_, err := d.Retry(ctx, "out")
			cancel()
			if took := time.Since(start); !errors.Is(err, want) || took != min(deadline, 7*time.Second) {
				t.Errorf("within %s: %v after %s", deadline, err, took)
			}
		}
	})
}
