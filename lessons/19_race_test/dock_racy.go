//go:build racy

// Package dock hands out the bays of a depot's loading dock to vans. This is
// the version that gave two vans one bay in spring: go test -tags=racy runs the
// tests against it.
package dock

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// ErrFull is the answer when every bay is taken.
var ErrFull = errors.New("dock: full")

const tries = 4

// Config says what a dock is like.
type Config struct {
	Bays   int
	Labels func() []string
	Pause  time.Duration
}

// Dock knows which van is in which bay.
type Dock struct {
	cfg    Config
	labels []string

	bays   []atomic.Bool
	vans   sync.Map
	served atomic.Int64
	freed  chan struct{}
}

// New makes a dock with all bays free.
func New(cfg Config) *Dock {
	return &Dock{cfg: cfg, bays: make([]atomic.Bool, cfg.Bays), freed: make(chan struct{})}
}

// Take gives a van a free bay, or ErrFull.
func (d *Dock) Take(van string) (bay int, err error) {
	if bay, ok := d.vans.Load(van); ok {
		return bay.(int), nil
	}
	for bay := range d.bays {
		if !d.bays[bay].Load() {
			d.bays[bay].Store(true)
			d.vans.Store(van, bay)
			d.served.Add(1)
			return bay, nil
		}
	}
	return 0, ErrFull
}

// Wait gives a van a bay as soon as there is one.
func (d *Dock) Wait(ctx context.Context, van string) (bay int, err error) {
	for {
		if bay, err = d.Take(van); err == nil {
			return bay, nil
		}
		select {
		case <-d.freed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Retry asks for a bay four times.
func (d *Dock) Retry(ctx context.Context, van string) (bay int, err error) {
	for try := range tries {
		if bay, err = d.Take(van); err == nil || ctx.Err() != nil {
			return bay, err
		}
		time.Sleep(d.cfg.Pause << try)
	}
	return 0, err
}

// Leave frees a van's bay.
func (d *Dock) Leave(van string) {
	if bay, ok := d.vans.LoadAndDelete(van); ok {
		d.bays[bay.(int)].Store(false)
		select {
		case d.freed <- struct{}{}:
		default: // nobody waits
		}
	}
}

// Vans says which van is in which bay.
func (d *Dock) Vans() map[string]int {
	vans := map[string]int{}
	for van, bay := range maps.Collect(d.vans.Range) {
		vans[van.(string)] = bay.(int)
	}
	return vans
}

// Served is how often a bay was given to a van.
func (d *Dock) Served() int { return int(d.served.Load()) }

// Label is the sign of a bay.
func (d *Dock) Label(bay int) string {
	if d.labels == nil {
		d.labels = d.cfg.Labels()
	}
	return d.labels[bay]
}
