package dock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	dock "pitstop/lessons/19_race_test"
)

func labels() []string { return []string{"A1", "A2", "B1", "B2"} }

func TestDock_ManyVans(t *testing.T) {
	d := dock.New(dock.Config{Bays: 4, Labels: labels, Pause: time.Millisecond})
	for i := range 100 {
		var wg sync.WaitGroup
		wg.Go(func() {
			van := fmt.Sprintf("van %d", i)
			bay, err := d.Take(van)
			if err != nil {
				t.Errorf("%s: %v", van, err)
				return
			}
			if d.Label(bay) == "" {
				t.Errorf("bay %d has no label", bay)
			}
			if len(d.Vans()) == 0 {
				t.Error("nobody is in the dock")
			}
			d.Leave(van)
		})
		wg.Wait()
	}
	if n := d.Served(); n < 100 {
		t.Errorf("%d vans served, want 100", n)
	}
}

func TestDock_Waits(t *testing.T) {
	d := dock.New(dock.Config{Bays: 1, Labels: labels, Pause: time.Millisecond})
	if _, err := d.Take("first"); err != nil {
		t.Fatal(err)
	}
	go func() {
		time.Sleep(20 * time.Millisecond)
		d.Leave("first")
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := d.Wait(ctx, "second"); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestDock_Retries(t *testing.T) {
	d := dock.New(dock.Config{Bays: 1, Labels: labels, Pause: time.Millisecond})
	if _, err := d.Take("first"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Retry(t.Context(), "second"); !errors.Is(err, dock.ErrFull) {
		t.Errorf("Retry gave %v, want ErrFull", err)
	}
}
