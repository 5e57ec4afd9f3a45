// Package dock stands in the place of the lesson's: one binary holds every
// implementation that a learner's test is tried on, and the environment says
// which it is.
package dock

import (
	"context"
	"errors"
	"maps"
	"os"
	"sync"
	"time"
)

var ErrFull = errors.New("dock: full")

const tries = 4

type Config struct {
	Bays   int
	Labels func() []string
	Pause  time.Duration
}

type implementation interface {
	Take(van string) (int, error)
	Wait(ctx context.Context, van string) (int, error)
	Retry(ctx context.Context, van string) (int, error)
	Leave(van string)
	Vans() map[string]int
	Served() int
	Label(bay int) string
}

type Dock struct{ implementation }

func New(cfg Config) *Dock { return &Dock{chosen(cfg)} }

var chosen func(Config) implementation

func init() {
	name := os.Getenv("PITSTOP_MUTANT")
	os.Unsetenv("PITSTOP_MUTANT")
	if chosen = implementations[name]; chosen == nil {
		panic("no implementation " + name)
	}
}

var implementations = map[string]func(Config) implementation{
	"mutex":           func(c Config) implementation { return plain(c) },
	"last_first":      func(c Config) implementation { d := plain(c); d.last = true; return d },
	"polls":           func(c Config) implementation { return &polls{plain(c)} },
	"swap":            func(c Config) implementation { return newSwap(c) },
	"cond":            func(c Config) implementation { return newCond(c) },
	"queue":           func(c Config) implementation { return &queue{core: plain(c)} },
	"labels_first":    func(c Config) implementation { d := plain(c); _ = d.labels(); return d },
	"counter":         func(c Config) implementation { return &counter{core: plain(c)} },
	"live_map":        func(c Config) implementation { return &liveMap{plain(c)} },
	"lazy_labels":     func(c Config) implementation { return &lazyLabels{core: plain(c)} },
	"load_then_store": func(c Config) implementation { d := newSwap(c); d.careless = true; return d },
	"one_signal":      func(c Config) implementation { return &oneSignal{core: plain(c), wake: make(chan struct{})} },
	"deaf_pause":      func(c Config) implementation { return &deafPause{plain(c)} },
	"lost_count":      func(c Config) implementation { return &lostCount{core: plain(c)} },
	"labels_twice":    func(c Config) implementation { return &labelsTwice{core: plain(c)} },
	"two_locks":       func(c Config) implementation { return &twoLocks{plain(c)} },
	"dead_waiter":     func(c Config) implementation { return &queue{core: plain(c), careless: true} },
	"one_more":        func(c Config) implementation { d := plain(c); d.tries++; return d },
	"even_pauses":     func(c Config) implementation { d := plain(c); d.factor = 1; return d },
	"token":           func(c Config) implementation { return &token{core: plain(c), wake: make(chan struct{}, 1)} },
	"read_lock":       func(c Config) implementation { return newReadLock(c) },
}

// core is the lesson's own dock.
type core struct {
	cfg    Config
	labels func() []string
	last   bool
	tries  int
	factor time.Duration

	mu     sync.Mutex
	free   []int
	vans   map[string]int
	served int
	change chan struct{}
}

func plain(cfg Config) *core {
	d := &core{
		cfg: cfg, labels: sync.OnceValue(cfg.Labels), tries: tries, factor: 2,
		vans: map[string]int{}, change: make(chan struct{}),
	}
	for bay := range cfg.Bays {
		d.free = append(d.free, bay)
	}
	return d
}

func (d *core) Take(van string) (int, error) {
	bay, _, err := d.take(van)
	return bay, err
}

func (d *core) take(van string) (int, chan struct{}, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if bay, ok := d.vans[van]; ok {
		return bay, nil, nil
	}
	if len(d.free) == 0 {
		return 0, d.change, ErrFull
	}
	bay := d.pick()
	d.vans[van] = bay
	d.served++
	return bay, nil, nil
}

func (d *core) pick() (bay int) {
	if d.last {
		n := len(d.free) - 1
		bay, d.free = d.free[n], d.free[:n]
		return bay
	}
	bay, d.free = d.free[0], d.free[1:]
	return bay
}

func (d *core) Wait(ctx context.Context, van string) (int, error) {
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

func (d *core) Retry(ctx context.Context, van string) (int, error) {
	return retry(ctx, van, d.cfg.Pause, d.tries, d.factor, d.Take)
}

func retry(ctx context.Context, van string, pause time.Duration, tries int, factor time.Duration, take func(string) (int, error)) (bay int, err error) {
	for try := range tries {
		if try > 0 {
			select {
			case <-time.After(pause):
				pause *= factor
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		if bay, err = take(van); err == nil {
			return bay, nil
		}
	}
	return 0, err
}

func (d *core) Leave(van string) {
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

func (d *core) Vans() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.vans)
}

func (d *core) Served() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.served
}

func (d *core) Label(bay int) string { return d.labels()[bay] }
