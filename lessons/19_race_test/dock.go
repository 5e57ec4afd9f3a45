//go:build !racy

// Package dock hands out the bays of a depot's loading dock to vans.
package dock

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"
)

// ErrFull is the answer when every bay is taken.
var ErrFull = errors.New("dock: full")

// tries is how often Retry asks.
const tries = 4

// Config says what a dock is like.
type Config struct {
	Bays   int             // how many; they are numbered from 0
	Labels func() []string // reads the bays' signs; slow, so it is called once at most
	Pause  time.Duration   // Retry's first pause
}

// Dock knows which van is in which bay. All methods may be called from many
// goroutines. It has no goroutine of its own.
type Dock struct {
	cfg    Config
	labels func() []string

	mu     sync.Mutex
	free   []int
	vans   map[string]int
	served int
	change chan struct{} // closed, and made anew, when a bay gets free
}

// New makes a dock with all bays free.
func New(cfg Config) *Dock {
	d := &Dock{cfg: cfg, labels: sync.OnceValue(cfg.Labels), vans: map[string]int{}, change: make(chan struct{})}
	for bay := range cfg.Bays {
		d.free = append(d.free, bay)
	}
	return d
}

// Take gives a van a free bay, any of them, or ErrFull at once. Two vans never
// have the same bay. A van that has one gets the same again.
func (d *Dock) Take(van string) (bay int, err error) {
	bay, _, err = d.take(van)
	return bay, err
}

func (d *Dock) take(van string) (bay int, change chan struct{}, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if bay, ok := d.vans[van]; ok {
		return bay, nil, nil
	}
	if len(d.free) == 0 {
		return 0, d.change, ErrFull
	}
	bay, d.free = d.free[0], d.free[1:]
	d.vans[van] = bay
	d.served++
	return bay, nil, nil
}

// Wait gives a van a bay as soon as there is one, or ctx.Err() when ctx ends
// first. No bay stays free while a van waits. Which van is first is open.
func (d *Dock) Wait(ctx context.Context, van string) (bay int, err error) {
	for {
		bay, change, err := d.take(van)
		if err == nil {
			return bay, nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Retry asks for a bay four times, with pauses of Pause, twice and four times
// that between them. It gives ErrFull after the last try, and ctx.Err() as
// soon as ctx ends in a pause.
func (d *Dock) Retry(ctx context.Context, van string) (bay int, err error) {
	pause := d.cfg.Pause
	for try := range tries {
		if try > 0 {
			select {
			case <-time.After(pause):
				pause *= 2
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		if bay, err = d.Take(van); err == nil {
			return bay, nil
		}
	}
	return 0, err
}

// Leave frees a van's bay. A van that has none leaves nothing.
func (d *Dock) Leave(van string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	bay, ok := d.vans[van]
	if !ok {
		return
	}
	delete(d.vans, van)
	d.free = append(d.free, bay)
	close(d.change)
	d.change = make(chan struct{})
}

// Vans says which van is in which bay. The map is the caller's own.
func (d *Dock) Vans() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.vans)
}

// Served is how often a bay was given to a van that had none.
func (d *Dock) Served() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.served
}

// Label is the sign of a bay.
func (d *Dock) Label(bay int) string {
	return d.labels()[bay]
}
