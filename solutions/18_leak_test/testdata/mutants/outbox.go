// Package outbox stands in the place of the lesson's: one binary holds every
// implementation that a learner's test is tried on, and the environment says
// which it is.
package outbox

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

var (
	ErrClosed = errors.New("outbox: closed")
	ErrFull   = errors.New("outbox: full")
)

const room = 64

type Message struct {
	Courier string
	Text    string
}

type Config struct {
	Send  func(ctx context.Context, m Message) error
	Retry time.Duration
}

type implementation interface {
	Push(Message) error
	Close()
}

type Outbox struct{ implementation }

func New(cfg Config) *Outbox { return &Outbox{chosen(cfg)} }

var chosen func(Config) implementation

func init() {
	name := os.Getenv("PITSTOP_MUTANT")
	os.Unsetenv("PITSTOP_MUTANT")
	if chosen = implementations[name]; chosen == nil {
		panic("no implementation " + name)
	}
	if name == "process_wide" {
		go func() {
			for range time.Tick(time.Hour) {
			}
		}()
	}
}

var implementations = map[string]func(Config) implementation{
	"one_worker":   func(c Config) implementation { return workers(c, 1) },
	"four_workers": func(c Config) implementation { return workers(c, 4) },
	"process_wide": func(c Config) implementation { return workers(c, 1) },
	"per_message": func(c Config) implementation {
		o := &perMessage{core: newCore(c)}
		return o
	},
	"timers": func(c Config) implementation {
		o := &timers{core: newCore(c), armed: map[*time.Timer]bool{}}
		o.wg.Go(o.run)
		return o
	},
	"lazy": func(c Config) implementation { return &lazy{core: newCore(c)} },
	"last_try": func(c Config) implementation {
		return &lastTry{worker: workers(c, 1), closed: make(chan struct{})}
	},
	"slow_close": func(c Config) implementation { return &slowClose{worker: workers(c, 1)} },

	"worker_waits": func(c Config) implementation {
		o := &workerWaits{core: newCore(c)}
		go o.run()
		return o
	},
	"send_goes_on": func(c Config) implementation {
		o := &sendGoesOn{workers(c, 1)}
		return o
	},
	"retry_fires": func(c Config) implementation {
		o := &retryFires{core: newCore(c)}
		o.wg.Go(o.run)
		return o
	},
	"background": func(c Config) implementation {
		o := &background{core: newCore(c)}
		go o.run()
		return o
	},
	"sleeps_out": func(c Config) implementation {
		o := &sleepsOut{core: newCore(c), sending: make(chan struct{}, 1)}
		o.sending <- struct{}{}
		go o.run()
		return o
	},
	"starts_late": func(c Config) implementation {
		o := &startsLate{core: newCore(c)}
		o.wg.Go(o.run)
		return o
	},
	"cancelled_is_failed": func(c Config) implementation {
		o := &cancelledIsFailed{core: newCore(c)}
		o.wg.Go(o.run)
		return o
	},
	"waits_for_one": func(c Config) implementation {
		o := &waitsForOne{core: newCore(c), ended: make(chan struct{}, room+1)}
		for range room + 1 {
			go func() {
				o.work()
				o.ended <- struct{}{}
			}()
		}
		return o
	},
	"grace": func(c Config) implementation { return &grace{workers(c, 1)} },
	"drains_behind": func(c Config) implementation {
		return &drainsBehind{workers(c, 1)}
	},
	"never_used": func(c Config) implementation {
		o := &neverUsed{core: newCore(c)}
		o.wg.Go(func() {
			o.deliver(<-o.queue) // the first; from then on it listens to Close
			o.work()
		})
		return o
	},
	"reporter": func(c Config) implementation {
		o := workers(c, 1)
		go func() {
			for range time.Tick(time.Hour) {
				_ = len(o.queue)
			}
		}()
		return o
	},
}

// core is what they have in common: a queue that refuses, and delivery with
// pauses that ends with the context.
type core struct {
	cfg    Config
	queue  chan Message
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newCore(c Config) *core {
	o := &core{cfg: c, queue: make(chan Message, room)}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	return o
}

func (o *core) Push(m Message) error {
	if o.ctx.Err() != nil {
		return ErrClosed
	}
	select {
	case o.queue <- m:
		return nil
	default:
		return ErrFull
	}
}

func (o *core) next() (Message, bool) {
	select {
	case <-o.ctx.Done():
		return Message{}, false
	default:
	}
	select {
	case <-o.ctx.Done():
		return Message{}, false
	case m := <-o.queue:
		return m, true
	}
}

func (o *core) work() {
	for {
		m, ok := o.next()
		if !ok {
			return
		}
		o.deliver(m)
	}
}

func (o *core) deliver(m Message) {
	for o.cfg.Send(o.ctx, m) != nil {
		select {
		case <-o.ctx.Done():
			return
		case <-time.After(o.cfg.Retry):
		}
	}
}
