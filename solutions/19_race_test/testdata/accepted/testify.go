package dock_test

// Few tests, each with many goroutines of one kind, and testify.

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	dock "pitstop/lessons/19_race_test"
)

func signs() []string { return []string{"north", "south", "east"} }

func TestStress(t *testing.T) {
	for range 20 {
		calls := 0 // the race detector would see a second one
		d := dock.New(dock.Config{Bays: 3, Pause: time.Hour, Labels: func() []string {
			calls++
			runtime.Gosched()
			return signs()
		}})
		var mu sync.Mutex
		inBay, total := map[int]string{}, 0
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range 12 {
			wg.Go(func() {
				<-start
				assert.NotEmpty(t, d.Label(i%3))
				for j := range 8 {
					van := strconv.Itoa(i) + "/" + strconv.Itoa(j)
					bay, err := d.Take(van)
					if err != nil {
						assert.ErrorIs(t, err, dock.ErrFull)
						runtime.Gosched()
						continue
					}
					mu.Lock()
					other, taken := inBay[bay]
					if !assert.False(t, taken, "%s and %s in bay %d", van, other, bay) {
						mu.Unlock()
						return
					}
					inBay[bay] = van
					total++
					mu.Unlock()
					runtime.Gosched()
					vans := d.Vans()
					assert.Equal(t, bay, vans[van])
					vans["somebody else"] = 99
					mu.Lock()
					delete(inBay, bay)
					mu.Unlock()
					d.Leave(van)
					assert.NotContains(t, d.Vans(), van)
				}
			})
		}
		close(start)
		wg.Wait()
		assert.Equal(t, total, d.Served())
		assert.Equal(t, 1, calls)
		assert.Empty(t, d.Vans())
	}
}

func TestTwins(t *testing.T) {
	for range 100 {
		d := dock.New(dock.Config{Bays: 2, Labels: signs})
		var bays [6]int
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range bays {
			wg.Go(func() {
				<-start
				bay, err := d.Take("twin")
				assert.NoError(t, err)
				bays[i] = bay
			})
		}
		close(start)
		wg.Wait()
		for _, bay := range bays {
			assert.Equal(t, bays[0], bay)
		}
		_, err := d.Take("single")
		assert.NoError(t, err, "the second bay is free")
	}
}

func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dock.New(dock.Config{Bays: 3, Labels: signs, Pause: time.Second})
		for i := range 3 {
			_, err := d.Take("in " + strconv.Itoa(i))
			assert.NoError(t, err)
		}
		early, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		late, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := d.Wait(early, "early")
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		})
		synctest.Wait()
		for i := range 3 {
			wg.Go(func() {
				_, err := d.Wait(late, strconv.Itoa(i))
				assert.NoError(t, err)
			})
		}
		time.Sleep(10 * time.Second)
		for i := range 3 {
			d.Leave("in " + strconv.Itoa(i))
		}
		wg.Wait()
		assert.Len(t, d.Vans(), 3)
	})
}

// As they stand in the doorway, neither inside nor on the bench.
func TestComingAndGoing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dock.New(dock.Config{Bays: 2, Labels: signs})
		for i := range 6 {
			wait, done := context.WithTimeout(t.Context(), time.Hour)
			go func() {
				defer done()
				_, err := d.Wait(wait, strconv.Itoa(i))
				assert.NoError(t, err)
			}()
		}
		for left := range 3 {
			synctest.Wait()
			vans := d.Vans()
			assert.Len(t, vans, 2, "after %d pairs have left", left)
			for van := range vans {
				d.Leave(van)
			}
			time.Sleep(time.Second)
		}
		assert.Equal(t, 6, d.Served())
	})
}

func TestTries(t *testing.T) {
	for _, c := range []struct {
		deadline, took time.Duration
		err            error
	}{
		{time.Hour, 7 * time.Second, dock.ErrFull},
		{500 * time.Millisecond, 500 * time.Millisecond, context.DeadlineExceeded},
		{2500 * time.Millisecond, 2500 * time.Millisecond, context.DeadlineExceeded},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := dock.New(dock.Config{Bays: 1, Labels: signs, Pause: time.Second})
			_, _ = d.Take("in")
			ctx, cancel := context.WithTimeout(t.Context(), c.deadline)
			defer cancel()
			start := time.Now()
			_, err := d.Retry(ctx, "out")
			assert.ErrorIs(t, err, c.err)
			assert.Equal(t, c.took, time.Since(start))
		})
	}
}
