package outbox

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

type worker struct{ *core }

func workers(c Config, n int) *worker {
	o := &worker{newCore(c)}
	for range n {
		o.wg.Go(o.work)
	}
	return o
}

func (o *worker) Close() {
	o.cancel()
	o.wg.Wait()
}

type perMessage struct {
	*core
	mu sync.Mutex
}

func (o *perMessage) Push(m Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ctx.Err() != nil {
		return ErrClosed
	}
	o.wg.Go(func() { o.deliver(m) })
	return nil
}

func (o *perMessage) Close() {
	o.mu.Lock()
	o.cancel()
	o.mu.Unlock()
	o.wg.Wait()
}

type timers struct {
	*core
	mu    sync.Mutex
	armed map[*time.Timer]bool
}

func (o *timers) run() {
	for {
		m, ok := o.next()
		if !ok {
			return
		}
		o.send(m)
	}
}

func (o *timers) send(m Message) {
	if o.cfg.Send(o.ctx, m) == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ctx.Err() != nil {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(o.cfg.Retry, func() {
		o.mu.Lock()
		mine := o.armed[t]
		delete(o.armed, t)
		if mine && o.ctx.Err() == nil {
			o.wg.Add(1)
			defer o.wg.Done()
		} else {
			mine = false
		}
		o.mu.Unlock()
		if mine {
			o.send(m)
		}
	})
	o.armed[t] = true
}

func (o *timers) Close() {
	o.mu.Lock()
	o.cancel()
	for t := range o.armed {
		t.Stop()
	}
	clear(o.armed)
	o.mu.Unlock()
	o.wg.Wait()
}

type lazy struct {
	*core
	mu   sync.Mutex
	once sync.Once
}

func (o *lazy) Push(m Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.core.Push(m); err != nil {
		return err
	}
	o.once.Do(func() { o.wg.Go(o.work) })
	return nil
}

func (o *lazy) Close() {
	o.mu.Lock()
	o.cancel()
	o.mu.Unlock()
	o.wg.Wait()
}

type lastTry struct {
	*worker
	closing atomic.Bool
	closed  chan struct{}
}

func (o *lastTry) Close() {
	if !o.closing.CompareAndSwap(false, true) {
		<-o.closed // no lock: whoever waits for one stops a fake clock
		return
	}
	defer close(o.closed)
	o.worker.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	for {
		select {
		case m := <-o.queue:
			_ = o.cfg.Send(ctx, m)
		default:
			return
		}
	}
}

type slowClose struct{ *worker }

func (o *slowClose) Close() {
	o.cancel()
	time.Sleep(333 * time.Millisecond)
	o.wg.Wait()
}
