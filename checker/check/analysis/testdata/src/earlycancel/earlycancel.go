package earlycancel

import (
	"context"
	"sync"
)

func use(context.Context) {}

type group struct{ sync.WaitGroup }

func startsOnly(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // want `cancel ends ctx when this function returns, and the goroutine started at line 15 uses it`
	go use(ctx)
}

func startsInALiteral(parent context.Context) <-chan struct{} {
	done := make(chan struct{})
	ctx, stop := context.WithCancel(parent)
	defer stop() // want `stop ends ctx when this function returns, and the goroutine started at line 22 uses it`
	go func() {
		defer close(done)
		use(ctx)
	}()
	return done
}

func startsMany(ctx context.Context, n int) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil) // want `cancel ends ctx`
	for range n {
		go use(ctx)
	}
}

func startsByAGroup(ctx context.Context, g *sync.WaitGroup) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // want `cancel ends ctx`
	g.Go(func() { use(ctx) })
}

var _ = func(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // want `cancel ends ctx`
	go use(ctx)
}

// What follows is as it should be.

func cancelsInside(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		use(ctx)
	}()
}

func worksBeside(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go use(ctx)
	use(ctx)
}

func receives(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() { use(ctx); close(done) }()
	<-done
}

func selects(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() { use(ctx); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func ranges(ctx context.Context) (n int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := make(chan int)
	go func() { use(ctx); close(out) }()
	for range out {
		n++
	}
	return n
}

func waitsForAGroup(ctx context.Context) {
	var g group
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.Go(func() { use(ctx) })
	g.Wait()
}

func defersTheWait(ctx context.Context) {
	var g group
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer g.Wait()
	g.Go(func() { use(ctx) })
}

func anotherContext(ctx context.Context) {
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	use(limited)
	go use(ctx)
}

func returnsTheAnswer(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, 1)
	go func() { use(ctx); errs <- nil }()
	return <-errs
}

func inALoop(ctx context.Context, in <-chan int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for range in {
		go use(ctx)
	}
}
