package dock

import (
	"context"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

type counter struct {
	*core
	n int
}

func (d *counter) Take(van string) (int, error) {
	before := d.core.Served()
	bay, err := d.core.Take(van)
	if err == nil && d.core.Served() > before {
		d.count()
	}
	return bay, err
}

func (d *counter) count() {
	n := d.n
	runtime.Gosched()
	d.n = n + 1
}

func (d *counter) Wait(ctx context.Context, van string) (int, error) {
	bay, err := d.core.Wait(ctx, van)
	if err == nil {
		d.count()
	}
	return bay, err
}

func (d *counter) Retry(ctx context.Context, van string) (int, error) {
	return retry(ctx, van, d.cfg.Pause, tries, 2, d.Take)
}

func (d *counter) Served() int { return d.n }

type liveMap struct{ *core }

func (d *liveMap) Vans() map[string]int { return d.vans }

type lazyLabels struct {
	*core
	read []string
}

func (d *lazyLabels) Label(bay int) string {
	if d.read == nil {
		d.read = d.cfg.Labels()
	}
	return d.read[bay]
}

// oneSignal lets a van that was woken look at the dock a moment later. So the
// second of two bays that get free at once always finds the dock not full.
type oneSignal struct {
	*core
	wake chan struct{}
}

func (d *oneSignal) Wait(ctx context.Context, van string) (int, error) {
	for {
		if bay, err := d.Take(van); err == nil {
			return bay, nil
		}
		select {
		case <-d.wake:
			time.Sleep(time.Millisecond)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (d *oneSignal) Leave(van string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	bay, ok := d.vans[van]
	if !ok {
		return
	}
	delete(d.vans, van)
	d.free = append(d.free, bay)
	if len(d.free) == 1 {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

// token keeps one wake-up for vans that do not wait yet. It is easily missed:
// those that wait already are woken one by one, as a channel does.
type token struct {
	*core
	wake chan struct{}
}

func (d *token) Wait(ctx context.Context, van string) (int, error) {
	for {
		if bay, err := d.Take(van); err == nil {
			return bay, nil
		}
		time.Sleep(time.Millisecond) // as one that writes to a log
		if ctx.Err() != nil {
			return 0, ctx.Err() // and leaves the wake-up to the next
		}
		select {
		case <-d.wake:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (d *token) Leave(van string) {
	d.core.Leave(van)
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

type deafPause struct{ *core }

func (d *deafPause) Retry(ctx context.Context, van string) (bay int, err error) {
	pause := d.cfg.Pause
	for try := range tries {
		if try > 0 {
			time.Sleep(pause)
			pause *= 2
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
		}
		if bay, err = d.Take(van); err == nil {
			return bay, nil
		}
	}
	return 0, err
}

type lostCount struct {
	*core
	n atomic.Int64
}

func (d *lostCount) Take(van string) (int, error) {
	d.mu.Lock()
	_, had := d.vans[van]
	d.mu.Unlock()
	bay, err := d.core.Take(van)
	if err == nil && !had {
		d.count()
	}
	return bay, err
}

func (d *lostCount) count() {
	n := d.n.Load()
	runtime.Gosched()
	d.n.Store(n + 1)
}

func (d *lostCount) Wait(ctx context.Context, van string) (int, error) {
	bay, err := d.core.Wait(ctx, van)
	if err == nil {
		d.count()
	}
	return bay, err
}

func (d *lostCount) Retry(ctx context.Context, van string) (int, error) {
	return retry(ctx, van, d.cfg.Pause, tries, 2, d.Take)
}

func (d *lostCount) Served() int { return int(d.n.Load()) }

type labelsTwice struct {
	*core
	read atomic.Pointer[[]string]
}

func (d *labelsTwice) Label(bay int) string {
	if l := d.read.Load(); l != nil {
		return (*l)[bay]
	}
	runtime.Gosched()
	l := d.cfg.Labels()
	d.read.Store(&l)
	return l[bay]
}

type twoLocks struct{ *core }

func (d *twoLocks) Take(van string) (int, error) {
	d.mu.Lock()
	bay, ok := d.vans[van]
	d.mu.Unlock()
	if ok {
		return bay, nil
	}
	runtime.Gosched()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.free) == 0 {
		return 0, ErrFull
	}
	bay = d.pick()
	d.vans[van] = bay
	d.served++
	return bay, nil
}

func (d *twoLocks) Retry(ctx context.Context, van string) (int, error) {
	return retry(ctx, van, d.cfg.Pause, tries, 2, d.Take)
}

// readLock has a read-write lock of its own.
type readLock struct {
	*core
	rw sync.RWMutex
}

func newReadLock(c Config) *readLock { return &readLock{core: plain(c)} }

func (d *readLock) Take(van string) (int, error) {
	d.rw.Lock()
	defer d.rw.Unlock()
	if bay, ok := d.vans[van]; ok {
		return bay, nil
	}
	if len(d.free) == 0 {
		return 0, ErrFull
	}
	bay := d.pick()
	d.vans[van] = bay
	d.served++
	return bay, nil
}

func (d *readLock) Wait(ctx context.Context, van string) (int, error) {
	for {
		d.rw.RLock()
		change := d.change
		d.rw.RUnlock()
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

func (d *readLock) Retry(ctx context.Context, van string) (int, error) {
	return retry(ctx, van, d.cfg.Pause, tries, 2, d.Take)
}

func (d *readLock) Leave(van string) {
	d.rw.RLock()
	defer d.rw.RUnlock()
	bay, ok := d.vans[van]
	if !ok {
		return
	}
	delete(d.vans, van)
	d.free = append(d.free, bay)
	close(d.change)
	d.change = make(chan struct{})
}

func (d *readLock) Vans() map[string]int {
	d.rw.RLock()
	defer d.rw.RUnlock()
	return maps.Clone(d.vans)
}

func (d *readLock) Served() int {
	d.rw.RLock()
	defer d.rw.RUnlock()
	return d.served
}
