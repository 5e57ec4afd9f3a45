//go:build review

package card_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pitstop/checker/probe"
	card "pitstop/lessons/20_deadlines"
	"pitstop/lessons/dispatch"
)

var (
	errBroken = errors.New("502 bad gateway")
	errGone   = errors.New("the depot closed its window")
	errDriver = errors.New("canceling statement due to user request")
)

// styles is what clients make of a context that ended under their call.
var styles = []struct {
	name string
	says func(ctx context.Context) error
}{
	{"wraps ctx.Err()", func(ctx context.Context) error { return fmt.Errorf("service: %w", ctx.Err()) }},
	{"gives the cause, as net/http does", func(ctx context.Context) error { return fmt.Errorf("Get: %w", context.Cause(ctx)) }},
	{"has its own words, as database drivers do", func(context.Context) error { return errDriver }},
}

func TestReview_CallsGoSideBySide(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServices()
		s.order.takes, s.customer.takes, s.preferences.takes = 400*time.Millisecond, 500*time.Millisecond, 600*time.Millisecond
		r := load(t.Context(), s, timeout)
		if r.err != nil {
			probe.Fatalf(t, "card.data", "three services that answer gave the error %q.", r.err)
		}
		if !probe.AtMost(t, "Load with calls of 400, 500 and 600 ms", r.took.Milliseconds(), (time.Second + slack).Milliseconds(), "ms") {
			probe.Errorf(t, "card.serial", "an order in 400ms, a customer in 500ms and preferences in 600ms took %v: the last two need not wait for each other.", r.took)
		}
	})
}

func TestReview_FirstFailureEndsTheLoad(t *testing.T) {
	for failing, name := range partNames {
		for _, style := range styles {
			t.Run(name+" fails, the others' client "+style.name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					s := newServices()
					for i, p := range s.parts() {
						p.says = style.says
						if i > 0 {
							p.takes = hangs
						}
					}
					p := s.parts()[failing]
					p.takes, p.fails = 300*time.Millisecond, fmt.Errorf("%s: %w", name, errBroken)
					failed := 300 * time.Millisecond
					if failing > 0 {
						failed += s.order.takes
					}
					r := load(t.Context(), s, timeout)
					checkNoCard(t, r, "the "+name+" service failed")
					if after := r.took - failed; after > rollback+slack {
						probe.Errorf(t, "card.first_failure", "the %s service failed, and Load went on for %v: the failure must end the other call, which needs %v for that.",
							name, after, rollback)
					}
					if n := begun(r); failing == 0 && n > 1 || n > 3 {
						probe.Errorf(t, "card.first_failure", "the %s service failed, and Load made %d calls in all: none may begin after a failure.", name, n)
					}
					switch {
					case r.err == nil: // checkNoCard has said so
					case errors.Is(r.err, card.ErrTimeout):
						probe.Errorf(t, "card.cause", "the %s service failed after 300ms of a Timeout of %v, and the error is ErrTimeout: %q.", name, timeout, r.err)
					case !errors.Is(r.err, errBroken) && failing > 0 && (errors.Is(r.err, context.Canceled) || errors.Is(r.err, errDriver)):
						probe.Errorf(t, "card.echo", "the %s service failed, and the error is that of the call which was cancelled because of it: %q.", name, r.err)
					case !errors.Is(r.err, errBroken):
						probe.Errorf(t, "card.error", "the %s service failed, and errors.Is does not find its error in %q.", name, r.err)
					case errors.Is(r.err, context.Canceled):
						probe.Errorf(t, "card.echo", "the %s service failed, and errors.Is finds context.Canceled too: nobody but the caller cancels a Load.", name)
					}
				})
			})
		}
	}
}

func TestReview_TheCardIsWholeOrNone(t *testing.T) {
	for failing, name := range partNames {
		t.Run(name+" fails last", func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newServices()
				p := s.parts()[failing]
				p.takes, p.fails = 300*time.Millisecond, errBroken
				r := load(t.Context(), s, timeout)
				checkNoCard(t, r, "the "+name+" service failed when the others had answered")
				if r.err != nil && !errors.Is(r.err, errBroken) {
					probe.Errorf(t, "card.error", "the %s service failed, and errors.Is does not find its error in %q.", name, r.err)
				}
			})
		})
	}
}

func TestReview_TheErrorSaysWhoEndedTheLoad(t *testing.T) {
	type end struct {
		name string
		call func(ctx context.Context) (context.Context, context.CancelFunc)
		want []error
	}
	const at = 350 * time.Millisecond
	ends := []end{
		{"the caller cancelled", func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(at, cancel)
			return ctx, cancel
		}, []error{context.Canceled}},
		{"the caller cancelled with a cause", func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(at, func() { cancel(errGone) })
			return ctx, func() { cancel(nil) }
		}, []error{context.Canceled, errGone}},
		{"the caller's deadline passed", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, at)
		}, []error{context.DeadlineExceeded}},
		{"the caller's deadline passed, with a cause", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(ctx, at, errGone)
		}, []error{context.DeadlineExceeded, errGone}},
		{"the Timeout was used up", context.WithCancel, []error{card.ErrTimeout}},
		{"the Timeout was used up before the caller's deadline", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, timeout+time.Second)
		}, []error{card.ErrTimeout}},
	}
	for _, end := range ends {
		for i, name := range partNames {
			for _, style := range styles {
				t.Run(end.name+", "+name+" hangs, its client "+style.name, func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						s := newServices()
						p := s.parts()[i]
						p.takes, p.says = hangs, style.says
						ctx, cancel := end.call(t.Context())
						defer cancel()
						r := load(ctx, s, timeout)
						checkNoCard(t, r, end.name)
						checkCause(t, r, end.name, end.want)
					})
				})
			}
		}
	}
	t.Run("a client has a timeout of its own", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			s := newServices()
			s.customer.takes, s.customer.fails = 300*time.Millisecond, fmt.Errorf("customer client: %w", context.DeadlineExceeded)
			r := load(t.Context(), s, timeout)
			checkNoCard(t, r, "the customer service failed")
			if errors.Is(r.err, card.ErrTimeout) {
				probe.Errorf(t, "card.cause", "the customer's client gave up by itself after 300ms of a Timeout of %v, and the error is ErrTimeout: %q.", timeout, r.err)
			} else if r.err != nil && !errors.Is(r.err, context.DeadlineExceeded) {
				probe.Errorf(t, "card.error", "the customer's client failed, and errors.Is does not find its error in %q.", r.err)
			}
		})
	})
}

// Between the end of a Load and its return a call needs rollback to come back.
// Whatever ends in that time came second.
func TestReview_WhatCameFirstCounts(t *testing.T) {
	const later = rollback / 2
	hang := func(s *services, says func(context.Context) error) {
		for _, p := range s.parts()[1:] {
			p.takes, p.says = hangs, says
		}
	}
	// A call fails, and the end of the context follows.
	for failing, name := range partNames[1:] {
		for _, second := range []string{"the Timeout was used up", "the caller left", "the caller's deadline passed"} {
			for _, style := range styles {
				t.Run(name+" fails, then "+second+", the other client "+style.name, func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						s := newServices()
						hang(s, style.says)
						p := s.parts()[failing+1]
						p.takes, p.fails = time.Second, errBroken
						failed := s.order.takes + p.takes
						ctx, cancel := context.WithCancelCause(t.Context())
						defer cancel(nil)
						budget := 2 * failed
						switch second {
						case "the Timeout was used up":
							budget = failed + later
						case "the caller left":
							time.AfterFunc(failed+later, func() { cancel(errGone) })
						default:
							var stop context.CancelFunc
							ctx, stop = context.WithTimeoutCause(ctx, failed+later, errGone)
							defer stop()
						}
						r := load(ctx, s, budget)
						checkNoCard(t, r, "the "+name+" service failed")
						switch {
						case r.err == nil: // checkNoCard has said so
						case !errors.Is(r.err, errBroken):
							probe.Errorf(t, "card.first", "the %s service failed after %v. %v later, when the other call was on its way back, %s, and the error is %q: errors.Is does not find that of the failed call.",
								name, failed, later, second, r.err)
						case errors.Is(r.err, card.ErrTimeout) || errors.Is(r.err, context.Canceled):
							probe.Errorf(t, "card.first", "the %s service failed after %v. %v later, when the other call was on its way back, %s, and the error %q holds that too: it came second.",
								name, failed, later, second, r.err)
						}
					})
				})
			}
		}
	}
	// The Timeout and the caller, one after the other.
	for _, style := range styles {
		for _, deadline := range []bool{false, true} {
			for _, timeoutFirst := range []bool{true, false} {
				t.Run(fmt.Sprintf("Timeout first: %t, caller with a deadline: %t, clients: %s", timeoutFirst, deadline, style.name), func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						s := newServices()
						hang(s, style.says)
						leaves, situation, want := timeout+later, fmt.Sprintf("the Timeout was used up, and the caller left %v later", later), []error{card.ErrTimeout}
						if !timeoutFirst {
							leaves, situation, want = timeout-later, fmt.Sprintf("the caller left, and the Timeout was used up %v later", later), []error{context.Canceled, errGone}
						}
						ctx, cancel := context.WithCancelCause(t.Context())
						defer cancel(nil)
						if deadline {
							var stop context.CancelFunc
							ctx, stop = context.WithTimeoutCause(ctx, leaves, errGone)
							defer stop()
							if !timeoutFirst {
								want[0] = context.DeadlineExceeded
							}
						} else {
							time.AfterFunc(leaves, func() { cancel(errGone) })
						}
						r := load(ctx, s, timeout)
						checkNoCard(t, r, situation)
						checkCauseAs(t, "card.first", r, situation, want)
					})
				})
			}
		}
	}
}

func TestReview_NothingStartsOnADeadContext(t *testing.T) {
	t.Run("ended before", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			cancelled, cancel := context.WithCancelCause(t.Context())
			cancel(errGone)
			late, stop := context.WithTimeout(t.Context(), time.Millisecond)
			defer stop()
			<-late.Done()
			for ctx, want := range map[context.Context][]error{cancelled: {context.Canceled, errGone}, late: {context.DeadlineExceeded}} {
				s := newServices()
				r := load(ctx, s, timeout)
				situation := "the caller's context had ended before Load was called"
				checkNoCard(t, r, situation)
				checkCause(t, r, situation, want)
				if n := begun(r); !probe.Equal(t, "calls on a dead context", n, 0, "calls") {
					probe.Errorf(t, "card.dead_start", "%s, and Load made %d calls.", situation, n)
				}
			}
		})
	})
	// An answer may be on its way when the context ends, and arrive.
	for _, ends := range []string{"the caller left", "the Timeout was used up"} {
		t.Run(ends+" while the order was on its way", func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newServices()
				s.order.takes = hangs
				s.order.says = func(context.Context) error { return nil }
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				want := []error{card.ErrTimeout}
				if ends == "the caller left" {
					want = []error{context.Canceled}
					time.AfterFunc(300*time.Millisecond, cancel)
				}
				r := load(ctx, s, timeout)
				checkNoCard(t, r, ends)
				checkCause(t, r, ends, want)
				if n := begun(r) - r.parts[0].begun; !probe.Equal(t, "calls after the end", n, 0, "calls") {
					probe.Errorf(t, "card.dead_start", "%s, the order still arrived, and Load made %d more calls.", ends, n)
				}
			})
		})
	}
}

func TestReview_TheCallersValuesTravel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServices()
		r := load(context.WithValue(t.Context(), traceKey{}, "trace-8"), s, timeout)
		for _, p := range r.parts {
			if p.trace != "trace-8" {
				probe.Errorf(t, "card.values", "the caller's context holds a trace, and the call of the %s service saw %v.", p.name, p.trace)
			}
		}
	})
}

func TestReview_LoadsShareNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServices()
		s.customer.takes, s.preferences.takes = 500*time.Millisecond, 500*time.Millisecond
		l := loader(s, timeout)
		leaving, cancel := context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		first, second := make(chan result, 1), make(chan result, 1)
		go func() { first <- loadWith(leaving, s, l) }()
		synctest.Wait() // the one who leaves came first
		go func() { second <- loadWith(t.Context(), s, l) }()
		if r := <-first; r.err == nil {
			probe.Errorf(t, "card.cancel_ignored", "the caller left after 300ms and Load gave a card after %v.", r.took)
		}
		if r := <-second; r.err != nil || r.card != whole {
			probe.Errorf(t, "card.shared", "one of two callers left, and the other's Load ended with %v after %v.", r.err, r.took)
		}
		if r := loadWith(t.Context(), s, l); r.err != nil || r.card != whole {
			probe.Errorf(t, "card.shared", "a Load after another had failed ended with %v.", r.err)
		}
	})
}

func TestReview_TimeoutIsTheConfigs(t *testing.T) {
	for _, c := range []struct{ timeout, counts time.Duration }{{0, card.DefaultTimeout}, {-time.Second, card.DefaultTimeout}, {9 * time.Second, 9 * time.Second}} {
		t.Run(c.timeout.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newServices()
				s.customer.takes = c.counts - 500*time.Millisecond
				if r := load(t.Context(), s, c.timeout); r.err != nil {
					probe.Errorf(t, "card.config", "with a Timeout of %v, a Load that needs %v ended after %v with %q.", c.timeout, c.counts-400*time.Millisecond, r.took, r.err)
				}
				s.customer.takes = hangs
				if r := load(t.Context(), s, c.timeout); r.took > c.counts+rollback+slack {
					probe.Errorf(t, "card.config", "with a Timeout of %v, a Load ended after %v; want %v.", c.timeout, r.took, c.counts)
				}
			})
		})
	}
}

// TestReview_TheOtherSideHearsOfIt is no play: three servers on loopback, and
// dispatchd between them and a client that goes away.
func TestReview_TheOtherSideHearsOfIt(t *testing.T) {
	b := newBackend(t)
	loaded := make(chan error, 1)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
		defer cancel(nil)
		defer context.AfterFunc(r.Context(), func() { cancel(errGone) })()
		_, err := card.New(card.Config{Orders: b, Customers: b, Preferences: b, Timeout: time.Minute}).Load(ctx, "o-17")
		loaded <- err
	}))
	t.Cleanup(front.Close)
	ctx, leave := context.WithCancel(t.Context())
	t.Cleanup(func() { leave(); b.release() }) // before the servers close

	go func() {
		if req, err := http.NewRequestWithContext(ctx, http.MethodGet, front.URL, nil); err == nil {
			if resp, err := http.DefaultClient.Do(req); err == nil {
				resp.Body.Close()
			}
		}
	}()
	for n := range 2 {
		select {
		case <-b.entered:
		case <-time.After(3 * time.Second):
			probe.Fatalf(t, "card.serial", "over HTTP, neither the customer nor the preferences service answers, and 3s later %d of the 2 had been called.", n)
		}
	}
	leave()
	heard := 0
	limit := time.After(3 * time.Second)
	for range 2 {
		select {
		case <-b.ended:
			heard++
			continue
		case <-limit:
		}
		break
	}
	if !probe.Equal(t, "servers that heard of the client's leaving", heard, 2, "servers") {
		probe.Fatalf(t, "card.cancel_lost", "the depot's client went away, and 3s later %d of 2 servers behind dispatchd had heard of it.", heard)
	}
	select {
	case err := <-loaded:
		// net/http gives the cause of a context, so its error alone does not
		// tell that the caller left.
		if !errors.Is(err, context.Canceled) || !errors.Is(err, errGone) || errors.Is(err, card.ErrTimeout) {
			probe.Errorf(t, "card.cause", "over HTTP the caller left, and the error is %q: errors.Is finds context.Canceled: %t, the caller's cause: %t, ErrTimeout: %t.",
				err, errors.Is(err, context.Canceled), errors.Is(err, errGone), errors.Is(err, card.ErrTimeout))
		}
	case <-time.After(3 * time.Second):
		probe.Errorf(t, "card.cancel_ignored", "both calls had been cancelled over HTTP, and 3s later Load was not back.")
	}
}

// backend is the services over HTTP, with clients as a service has them. The
// order comes at once; the other two answer when the test ends.
type backend struct {
	url            string
	entered, ended chan struct{}
	release        func()
}

func newBackend(t *testing.T) *backend {
	over := make(chan struct{})
	b := &backend{entered: make(chan struct{}, 9), ended: make(chan struct{}, 9), release: sync.OnceFunc(func() { close(over) })}
	mux := http.NewServeMux()
	mux.HandleFunc("/order", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(whole.Order) })
	hang := func(w http.ResponseWriter, r *http.Request) {
		b.entered <- struct{}{}
		select {
		case <-r.Context().Done():
			b.ended <- struct{}{}
		case <-over:
		}
	}
	mux.HandleFunc("/customer", hang)
	mux.HandleFunc("/preferences", hang)
	server := httptest.NewServer(mux)
	b.url = server.URL
	t.Cleanup(server.Close)
	return b
}

func get[T any](ctx context.Context, url string) (v T, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return v, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	return v, json.NewDecoder(resp.Body).Decode(&v)
}

func (b *backend) Order(ctx context.Context, id string) (dispatch.Order, error) {
	return get[dispatch.Order](ctx, b.url+"/order?id="+id)
}

func (b *backend) Customer(ctx context.Context, id string) (card.Customer, error) {
	return get[card.Customer](ctx, b.url+"/customer?id="+id)
}

func (b *backend) Preferences(ctx context.Context, id string) (card.Preferences, error) {
	return get[card.Preferences](ctx, b.url+"/preferences?customer="+id)
}

// begun counts the calls that a Load made.
func begun(r result) (n int) {
	for _, p := range r.parts {
		n += p.begun
	}
	return n
}

// checkNoCard holds what every Load owes that could not be whole.
func checkNoCard(t *testing.T, r result, situation string) {
	t.Helper()
	if r.err == nil {
		probe.Errorf(t, "card.partial", "%s, and Load gave the card %+v and no error.", situation, r.card)
	} else if r.card != (card.Card{}) {
		probe.Errorf(t, "card.partial", "%s, and beside its error Load gave half a card: %+v.", situation, r.card)
	}
	if !probe.Equal(t, "calls still running when Load returned", r.running, 0, "calls") {
		probe.Errorf(t, "card.left_behind", "%s, and %d calls were still running when Load returned.", situation, r.running)
	}
}

// checkCause wants all of want in the error, and ErrTimeout only where it is
// wanted.
func checkCause(t *testing.T, r result, situation string, want []error) {
	t.Helper()
	checkCauseAs(t, "card.cause", r, situation, want)
}

func checkCauseAs(t *testing.T, code string, r result, situation string, want []error) {
	t.Helper()
	if r.err == nil {
		return // checkNoCard has said so
	}
	for _, w := range want {
		if !errors.Is(r.err, w) {
			probe.Errorf(t, code, "%s, and the error is %q: errors.Is does not find %q.", situation, r.err, w)
		}
	}
	if want[0] != card.ErrTimeout && errors.Is(r.err, card.ErrTimeout) {
		probe.Errorf(t, code, "%s, and the error is %q: errors.Is finds ErrTimeout, which is the loader's own.", situation, r.err)
	}
}
