package dock

import (
	"context"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

type polls struct{ *core }

func (d *polls) Wait(ctx context.Context, van string) (int, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if bay, err := d.Take(van); err == nil {
			return bay, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// swap has an atomic word for each bay. A careless one loads and then stores.
type swap struct {
	cfg      Config
	labels   func() []string
	careless bool
	bays     []atomic.Bool
	served   atomic.Int64
	left     atomic.Int64 // how often a van left
	mu       sync.Mutex   // of what is below; not of the bays
	vans     map[string]int
	change   chan struct{}
}

func newSwap(cfg Config) *swap {
	return &swap{cfg: cfg, labels: sync.OnceValue(cfg.Labels), bays: make([]atomic.Bool, cfg.Bays), vans: map[string]int{}, change: make(chan struct{})}
}

const pending = -1

func (d *swap) Take(van string) (int, error) {
	d.mu.Lock()
	bay, ok := d.vans[van]
	for ok && bay == pending {
		d.mu.Unlock()
		runtime.Gosched()
		d.mu.Lock()
		bay, ok = d.vans[van]
	}
	if ok {
		d.mu.Unlock()
		return bay, nil
	}
	d.vans[van] = pending
	d.mu.Unlock()
	for again := true; again; {
		left := d.left.Load()
		for bay := range d.bays {
			if d.get(bay) {
				d.served.Add(1)
				d.mu.Lock()
				d.vans[van] = bay
				d.mu.Unlock()
				return bay, nil
			}
		}
		again = d.left.Load() != left // else it was full all the while
	}
	d.mu.Lock()
	delete(d.vans, van)
	d.mu.Unlock()
	return 0, ErrFull
}

func (d *swap) get(bay int) bool {
	if !d.careless {
		return d.bays[bay].CompareAndSwap(false, true)
	}
	if d.bays[bay].Load() {
		return false
	}
	runtime.Gosched()
	d.bays[bay].Store(true)
	return true
}

func (d *swap) Wait(ctx context.Context, van string) (int, error) {
	for {
		d.mu.Lock()
		change := d.change
		d.mu.Unlock()
		if bay, err := d.Take(van); err == nil {
			return bay, nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (d *swap) Retry(ctx context.Context, van string) (int, error) {
	return retry(ctx, van, d.cfg.Pause, tries, 2, d.Take)
}

func (d *swap) Leave(van string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	bay, ok := d.vans[van]
	if !ok || bay == pending {
		return
	}
	delete(d.vans, van)
	d.bays[bay].Store(false)
	d.left.Add(1)
	close(d.change)
	d.change = make(chan struct{})
}

func (d *swap) Vans() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	vans := maps.Clone(d.vans)
	maps.DeleteFunc(vans, func(_ string, bay int) bool { return bay == pending })
	return vans
}

func (d *swap) Served() int          { return int(d.served.Load()) }
func (d *swap) Label(bay int) string { return d.labels()[bay] }

// cond waits on a condition variable.
type cond struct {
	*core
	freed *sync.Cond
}

func newCond(c Config) *cond {
	d := &cond{core: plain(c)}
	d.freed = sync.NewCond(&d.mu)
	return d
}

func (d *cond) Wait(ctx context.Context, van string) (int, error) {
	stop := context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.freed.Broadcast()
	})
	defer stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		if bay, ok := d.vans[van]; ok {
			return bay, nil
		}
		if len(d.free) > 0 {
			bay := d.pick()
			d.vans[van] = bay
			d.served++
			return bay, nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		d.freed.Wait()
	}
}

func (d *cond) Leave(van string) {
	d.core.Leave(van)
	d.freed.Broadcast()
}

// queue hands a bay to the van that has waited longest. A careless one does
// so too where that van has given up.
type queue struct {
	*core
	careless bool
	waiting  []*waiter
}

type waiter struct {
	van  string
	bay  chan int
	gone bool
}

func (d *queue) Wait(ctx context.Context, van string) (int, error) {
	d.mu.Lock()
	if bay, ok := d.vans[van]; ok {
		d.mu.Unlock()
		return bay, nil
	}
	if len(d.free) > 0 {
		bay := d.pick()
		d.vans[van] = bay
		d.served++
		d.mu.Unlock()
		return bay, nil
	}
	w := &waiter{van: van, bay: make(chan int, 1)}
	d.waiting = append(d.waiting, w)
	d.mu.Unlock()
	select {
	case bay := <-w.bay:
		return bay, nil
	case <-ctx.Done():
	}
	if d.careless {
		return 0, ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	w.gone = true
	select {
	case bay := <-w.bay:
		return bay, nil
	default:
		return 0, ctx.Err()
	}
}

func (d *queue) Leave(van string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	bay, ok := d.vans[van]
	if !ok {
		return
	}
	delete(d.vans, van)
	for len(d.waiting) > 0 {
		w := d.waiting[0]
		d.waiting = d.waiting[1:]
		if w.gone {
			continue
		}
		d.vans[w.van] = bay
		d.served++
		w.bay <- bay
		for _, other := range d.waiting {
			if other.van == w.van && !other.gone {
				other.gone = true
				other.bay <- bay
			}
		}
		return
	}
	d.free = append(d.free, bay)
}
