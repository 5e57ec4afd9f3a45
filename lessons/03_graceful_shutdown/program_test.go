package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"pitstop/checker/probe"
	lifecycle "pitstop/lessons/03_graceful_shutdown"
)

// The programs that the tests start as subprocesses. They say what they do in
// lines on their output, and wait where the test tells them to: see gate.
func TestMain(m *testing.M) {
	probe.Main(m, map[string]func() int{"dispatchd": dispatchd, "demo": demo})
}

// dispatchd runs the service under test as its environment says:
//
//	DRAIN, BUDGET  durations
//	GATE           where to wait, see hold
//	ADDR           listen there, instead of passing a listener
//	BROKEN=1       the listener's Accept fails once the gate says so
//	CANCEL=1       Run's context is cancelled once the gate says so
//	POOL           "held": Shutdown waits at the gate; "slow": until its context ends
//	LEAKS=1        count the goroutines that are left
//	LINGER=1       live on after Run, until the gate says so
//	HEARS=1        the program listens for SIGTERM itself, and says so
func dispatchd() int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pool := &tasks{mode: os.Getenv("POOL")}
	cfg := lifecycle.Config{
		Addr:    os.Getenv("ADDR"),
		Handler: routes(pool),
		Pool:    pool,
		Logger: slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})),
		Drain:  duration("DRAIN"),
		Budget: duration("BUDGET"),
	}
	if cfg.Addr == "" {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			fmt.Println("listen:", err)
			return 98
		}
		fmt.Println("listening", ln.Addr())
		cfg.Listener = ln
		if os.Getenv("BROKEN") != "" {
			cfg.Listener = brokenListener{ln}
		}
	}
	if os.Getenv("CANCEL") != "" {
		go func() {
			hold(context.Background(), "cancel")
			cancel()
		}()
	}

	if os.Getenv("HEARS") != "" {
		heard := make(chan os.Signal, 1)
		signal.Notify(heard, syscall.SIGTERM)
		go func() {
			for sig := range heard {
				fmt.Println("heard", sig)
			}
		}()
	}

	left := probe.Baseline()
	err := lifecycle.Run(ctx, cfg)
	fmt.Printf("returned failed=%t deadline=%t broken=%t %q\n",
		err != nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, errBroken), fmt.Sprint(err))
	if os.Getenv("LEAKS") != "" {
		gs := left(quiet{}, time.Second)
		fmt.Printf("leaked %d %s\n", len(gs), probe.Where(gs))
	}
	if os.Getenv("LINGER") != "" {
		hold(context.Background(), "end")
	}
	if err != nil {
		return 1
	}
	return 0
}

// demo is dispatchd to play with by hand: an order takes five seconds.
func demo() int {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return 98
	}
	mux := chi.NewRouter()
	mux.HandleFunc("POST /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("order", r.PathValue("id"), "began")
		time.Sleep(5 * time.Second)
		fmt.Println("order", r.PathValue("id"), "is done")
		fmt.Fprintln(w, "order", r.PathValue("id"), "accepted")
	})
	mux.HandleFunc("GET "+lifecycle.ReadyPath, func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ready") })
	fmt.Printf("in another window:  curl -i -X POST http://%s/orders/7\nthen press Ctrl-C here\n", ln.Addr())
	err = lifecycle.Run(context.Background(), lifecycle.Config{
		Listener: ln, Handler: mux, Pool: &tasks{}, Logger: slog.Default(),
		Drain: 2 * time.Second, Budget: 15 * time.Second,
	})
	fmt.Println("Run returned", err)
	if err != nil {
		return 1
	}
	return 0
}

const readyBody = "depots in reach"

func routes(pool *tasks) http.Handler {
	mux := chi.NewRouter()
	mux.HandleFunc("GET "+lifecycle.ReadyPath, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, readyBody) })
	mux.HandleFunc("POST /quick/{id}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "accepted") })
	// A held order waits at the gate, whatever becomes of its context.
	mux.HandleFunc("POST /held/{id}", func(w http.ResponseWriter, r *http.Request) {
		hold(context.Background(), "order "+r.PathValue("id"))
		io.WriteString(w, "accepted")
	})
	// A whole order waits too, minds its context, and leaves a task in the pool.
	mux.HandleFunc("POST /whole/{id}", func(w http.ResponseWriter, r *http.Request) {
		if err := hold(r.Context(), "order "+r.PathValue("id")); err != nil {
			fmt.Println("cancelled order", r.PathValue("id"))
			http.Error(w, "cancelled", http.StatusServiceUnavailable)
			return
		}
		if !pool.submit() {
			http.Error(w, "pool is closed", http.StatusInternalServerError)
			return
		}
		io.WriteString(w, "accepted")
	})
	return mux
}

// hold tells the test, at the address GATE, that it has come to name, and
// waits for leave to go on. An error says that ctx ended first.
func hold(ctx context.Context, name string) error {
	c, err := net.Dial("tcp", os.Getenv("GATE"))
	if err != nil {
		fmt.Println("gate:", err)
		return err
	}
	defer c.Close()
	fmt.Fprintln(c, name)
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })
	defer stop()
	_, err = c.Read(make([]byte, 1))
	return err
}

// tasks is a pool without workers: it tells how it is shut down.
type tasks struct {
	mode   string
	mu     sync.Mutex
	closed bool
}

func (p *tasks) submit() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.closed
}

func (p *tasks) Shutdown(ctx context.Context) error {
	began := time.Now()
	fmt.Println("pool shutdown")
	p.mu.Lock()
	again := p.closed
	p.closed = true
	p.mu.Unlock()
	switch {
	case again:
	case p.mode == "held":
		return hold(ctx, "pool")
	case p.mode == "slow":
		// What is left of the budget: the deadline says, where there is one.
		deadline, ok := ctx.Deadline()
		if ok {
			fmt.Println("pool budget", deadline.Sub(began).Milliseconds())
		} else if left, ends := lasts(ctx); ends {
			fmt.Println("pool budget", left.Milliseconds())
		} else {
			fmt.Println("pool budget none")
			return errors.New("the pool gave up")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(3 * time.Second):
			return errors.New("the pool gave up")
		}
	}
	return nil
}

// poolLimit tells a budget that is shared from one that starts anew.
const poolLimit = 1200 * time.Millisecond

// lasts measures how long a context without a deadline goes on. On a machine
// that stands still now and then, what was over by poolLimit on the context's
// own timers counts as poolLimit, however late it is seen.
func lasts(ctx context.Context) (d time.Duration, ends bool) {
	began := time.Now()
	alarm := time.After(poolLimit)
	select {
	case <-ctx.Done():
		return min(time.Since(began), poolLimit), true
	case <-alarm:
	}
	select {
	case <-ctx.Done():
		return poolLimit, true
	case <-time.After(100 * time.Millisecond):
	}
	select {
	case <-ctx.Done():
		return time.Since(began), true
	case <-time.After(3 * time.Second):
		return 0, false
	}
}

var errBroken = errors.New("accept: descriptor is gone")

type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) {
	hold(context.Background(), "accept")
	return nil, errBroken
}

// quiet stands in for a test where there is none.
type quiet struct{ testing.TB }

func (quiet) Helper() {}

func duration(name string) time.Duration {
	d, err := time.ParseDuration(os.Getenv(name))
	if err != nil {
		return 0
	}
	return d
}
