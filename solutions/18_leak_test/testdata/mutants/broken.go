package outbox

import (
	"context"
	"sync/atomic"
	"time"
)

type workerWaits struct{ *core }

func (o *workerWaits) run() {
	for m := range o.queue {
		o.deliver(m)
	}
}

func (o *workerWaits) Close() { o.cancel() }

type sendGoesOn struct{ *worker }

func (o *sendGoesOn) Close() { o.cancel() }

type retryFires struct{ *core }

func (o *retryFires) run() {
	for {
		m, ok := o.next()
		if !ok {
			return
		}
		o.send(m)
	}
}

func (o *retryFires) send(m Message) {
	if o.cfg.Send(o.ctx, m) != nil && o.ctx.Err() == nil {
		time.AfterFunc(o.cfg.Retry, func() { o.send(m) })
	}
}

func (o *retryFires) Close() {
	o.cancel()
	o.wg.Wait()
}

type background struct{ *core }

func (o *background) run() {
	for {
		m, ok := o.next()
		if !ok {
			return
		}
		for o.cfg.Send(context.Background(), m) != nil {
			select {
			case <-o.ctx.Done():
				return
			case <-time.After(o.cfg.Retry):
			}
		}
	}
}

func (o *background) Close() { o.cancel() }

type sleepsOut struct {
	*core
	sending chan struct{} // holds one token while no Send runs
}

func (o *sleepsOut) run() {
	for {
		m, ok := o.next()
		if !ok {
			return
		}
		for o.send(m) != nil {
			time.Sleep(o.cfg.Retry)
			if o.ctx.Err() != nil {
				return
			}
		}
	}
}

func (o *sleepsOut) send(m Message) error {
	<-o.sending
	defer func() { o.sending <- struct{}{} }()
	if o.ctx.Err() != nil {
		return nil
	}
	return o.cfg.Send(o.ctx, m)
}

func (o *sleepsOut) Close() {
	o.cancel()
	<-o.sending // waits for a Send, and not for a pause
	o.sending <- struct{}{}
}

type startsLate struct{ *core }

func (o *startsLate) run() {
	for {
		m, ok := o.next()
		if !ok {
			return
		}
		o.send(m)
	}
}

func (o *startsLate) send(m Message) {
	if o.cfg.Send(o.ctx, m) == nil || o.ctx.Err() != nil {
		return
	}
	again := make(chan Message)
	time.AfterFunc(o.cfg.Retry, func() { again <- m })
	o.wg.Go(func() {
		select {
		case <-o.ctx.Done():
		case m := <-again:
			o.send(m)
		}
	})
}

func (o *startsLate) Close() {
	o.cancel()
	o.wg.Wait()
}

type cancelledIsFailed struct{ *core }

func (o *cancelledIsFailed) run() {
	for {
		m, ok := o.next()
		if !ok {
			return
		}
		o.send(m)
	}
}

func (o *cancelledIsFailed) send(m Message) {
	for o.cfg.Send(o.ctx, m) != nil {
		if o.ctx.Err() != nil {
			time.AfterFunc(o.cfg.Retry, func() { _ = o.cfg.Send(context.WithoutCancel(o.ctx), m) })
			return
		}
		select {
		case <-o.ctx.Done():
			return
		case <-time.After(o.cfg.Retry):
		}
	}
}

func (o *cancelledIsFailed) Close() {
	o.cancel()
	o.wg.Wait()
}

type waitsForOne struct {
	*core
	ended chan struct{}
}

func (o *waitsForOne) Close() {
	o.cancel()
	<-o.ended
}

type drainsBehind struct{ *worker }

func (o *drainsBehind) Close() {
	o.worker.Close()
	go func() {
		for {
			select {
			case m := <-o.queue:
				_ = o.cfg.Send(context.WithoutCancel(o.ctx), m)
			default:
				return
			}
		}
	}()
}

type neverUsed struct {
	*core
	used atomic.Bool
}

func (o *neverUsed) Push(m Message) error {
	o.used.Store(true)
	return o.core.Push(m)
}

func (o *neverUsed) Close() {
	o.cancel()
	if o.used.Load() {
		o.wg.Wait()
	}
}

type grace struct{ *worker }

func (o *grace) Close() {
	o.cancel()
	ended := make(chan struct{})
	go func() {
		o.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(50 * time.Millisecond):
	}
}
