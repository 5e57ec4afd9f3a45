package dock_test

// The vans tell a referee what they were given and when they leave; the
// referee alone knows who may be where.

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	dock "pitstop/lessons/19_race_test"
)

type move struct {
	van   string
	bay   int
	leave bool
	seen  chan struct{}
}

func referee(t *testing.T, moves <-chan move, in map[int]string, taken *int) {
	for m := range moves {
		switch {
		case m.leave:
			delete(in, m.bay)
		case in[m.bay] != "":
			t.Errorf("bay %d has %s and %s", m.bay, in[m.bay], m.van)
		default:
			in[m.bay] = m.van
			*taken++
		}
		close(m.seen)
	}
}

func TestReferee(t *testing.T) {
	for range 40 {
		var read atomic.Int32
		d := dock.New(dock.Config{Bays: 2, Labels: func() []string {
			read.Add(1)
			time.Sleep(100 * time.Microsecond)
			return []string{"l", "r"}
		}})
		moves := make(chan move)
		in, taken := map[int]string{}, 0
		var judge sync.WaitGroup
		judge.Go(func() { referee(t, moves, in, &taken) })
		tell := func(van string, bay int, leave bool) {
			m := move{van, bay, leave, make(chan struct{})}
			moves <- m
			<-m.seen
		}
		var vans sync.WaitGroup
		gate := make(chan struct{})
		for i := range 10 {
			vans.Go(func() {
				<-gate
				_ = d.Label(0)
				for round := range 10 {
					van := strings.Repeat("v", i*10+round+1)
					bay, err := d.Take(van)
					if err != nil {
						continue
					}
					tell(van, bay, false)
					for _, b := range d.Vans() {
						if b < 0 || b > 1 {
							t.Errorf("bay %d", b)
						}
					}
					tell(van, bay, true)
					d.Leave(van)
				}
			})
		}
		close(gate)
		vans.Wait()
		close(moves)
		judge.Wait()
		if d.Served() != taken {
			t.Errorf("served %d, the referee saw %d", d.Served(), taken)
		}
		if n := read.Load(); n != 1 {
			t.Errorf("labels read %d times", n)
		}
	}
}

func TestReferee_Twin(t *testing.T) {
	for range 60 {
		d := dock.New(dock.Config{Bays: 8, Labels: func() []string { return nil }})
		var vans sync.WaitGroup
		gate := make(chan struct{})
		for range 8 {
			vans.Go(func() {
				<-gate
				_, _ = d.Take("twin")
			})
		}
		close(gate)
		vans.Wait()
		if n := d.Served(); n != 1 {
			t.Errorf("one van was served %d times", n)
		}
	}
}

func TestReferee_Time(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dock.New(dock.Config{Bays: 2, Labels: func() []string { return nil }, Pause: time.Minute})
		for _, van := range []string{"a", "b"} {
			if _, err := d.Take(van); err != nil {
				t.Fatal(err)
			}
		}
		wait := func(van string, patience time.Duration) chan error {
			result := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				_, err := d.Wait(ctx, van)
				result <- err
			}()
			synctest.Wait() // they wait in the order in which they came
			return result
		}
		c, e, f := wait("c", time.Second), wait("e", 2*time.Minute), wait("f", 2*time.Minute)
		time.Sleep(time.Minute)
		d.Leave("a")
		d.Leave("b")
		if c, e, f := <-c, <-e, <-f; c == nil || e != nil || f != nil {
			t.Errorf("c gave up, e and f wait: %v, %v, %v", c, e, f)
		}
		h, i := wait("h", time.Minute), wait("i", time.Minute)
		d.Leave("e") // at once, not a minute later
		d.Leave("f")
		if h, i := <-h, <-i; h != nil || i != nil {
			t.Errorf("e and f left as h and i came: %v, %v", h, i)
		}
		start := time.Now()
		if _, err := d.Retry(t.Context(), "g"); err != dock.ErrFull || time.Since(start) != 7*time.Minute {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		start = time.Now()
		if _, err := d.Retry(ctx, "g"); err != context.DeadlineExceeded || time.Since(start) != 150*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}
