package card_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"pitstop/checker/probe"
	card "pitstop/lessons/20_deadlines"
	"pitstop/lessons/dispatch"
)

const (
	timeout  = 2 * time.Second
	rollback = 100 * time.Millisecond // a call needs this long to end once its context has ended
	slack    = 50 * time.Millisecond
	hangs    = time.Hour
)

var whole = card.Card{
	Order:       dispatch.Order{ID: "o-17", Depot: "AMS", Recipient: "c-4", Address: "Kade 3", Grams: 700},
	Customer:    card.Customer{ID: "c-4", Name: "M. Visser", Phone: "020 55"},
	Preferences: card.Preferences{SafePlace: "behind the shed", Window: "17-19"},
}

func TestLoad_GivesTheWholeCard(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServices()
		s.order.takes, s.customer.takes, s.preferences.takes = 300*time.Millisecond, 400*time.Millisecond, 500*time.Millisecond
		r := load(t.Context(), s, timeout)
		if r.err != nil || r.card != whole {
			probe.Errorf(t, "card.data", "three services that answer gave the card %+v and the error %v; want %+v.", r.card, r.err, whole)
		}
		for _, p := range r.parts {
			if p.begun != 1 || p.key != p.want {
				probe.Errorf(t, "card.data", "the %s service was called %d times, last for %q; want once, for %q.", p.name, p.begun, p.key, p.want)
			}
		}
	})
}

func TestLoad_EndsWhenTheCallerLeaves(t *testing.T) {
	for i, name := range partNames {
		t.Run("while the "+name+" service hangs", func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newServices()
				s.parts()[i].takes = hangs
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(300*time.Millisecond, cancel)
				r := load(ctx, s, timeout)
				after := r.took - 300*time.Millisecond
				if !probe.AtMost(t, "Load went on after the caller left, "+name+" hanging", after.Milliseconds(), (rollback + slack).Milliseconds(), "ms") {
					probe.Errorf(t, "card.cancel_ignored", "the caller left after 300ms while the %s service hung, and Load went on for %v. A call needs %v to end.",
						name, after, rollback)
				}
				if r.err == nil {
					probe.Errorf(t, "card.partial", "Load returned no error although the %s service never answered.", name)
				}
			})
		})
	}
}

func TestLoad_EndsAtTheCallersDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServices()
		s.customer.takes = hangs
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		r := load(ctx, s, timeout)
		if !probe.AtMost(t, "Load with a caller's deadline of 500 ms", r.took.Milliseconds(), (500*time.Millisecond + rollback + slack).Milliseconds(), "ms") {
			probe.Errorf(t, "card.deadline_ignored", "the caller's deadline was 500ms and Load came back after %v: nobody reads that answer.", r.took)
		}
	})
}

func TestLoad_StaysWithinItsTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServices()
		s.order.takes, s.customer.takes, s.preferences.takes = 1500*time.Millisecond, 1600*time.Millisecond, hangs
		r := load(t.Context(), s, timeout)
		if !probe.AtMost(t, "Load with a Timeout of 2000 ms", r.took.Milliseconds(), (timeout + rollback + slack).Milliseconds(), "ms") {
			probe.Errorf(t, "card.budget", "Timeout is %v and Load took %v: order 1.5s, customer 1.6s, and preferences that hung.", timeout, r.took)
		}
		if r.err == nil {
			probe.Errorf(t, "card.partial", "Load returned no error although the preferences never came.")
		} else if !errors.Is(r.err, card.ErrTimeout) {
			probe.Errorf(t, "card.cause", "the Timeout was used up while the caller waited on, and the error is %q: errors.Is does not find ErrTimeout.", r.err)
		}
	})
}

// bubble runs f in fake time. It outlasts a call that hangs.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	probe.Bubble(t, "card.stuck", 2*hangs, f)
}

// result is how a Load ended, and how the services stood when it returned.
type result struct {
	card    card.Card
	err     error
	took    time.Duration
	running int
	parts   [3]part
}

func load(ctx context.Context, s *services, timeout time.Duration) result {
	return loadWith(ctx, s, loader(s, timeout))
}

func loadWith(ctx context.Context, s *services, l *card.Loader) result {
	start := time.Now()
	c, err := l.Load(ctx, "o-17")
	took := time.Since(start)
	s.mu.Lock()
	defer s.mu.Unlock()
	return result{c, err, took, s.running, [3]part{s.order, s.customer, s.preferences}}
}

func loader(s *services, timeout time.Duration) *card.Loader {
	return card.New(card.Config{Orders: s, Customers: s, Preferences: s, Timeout: timeout})
}

var partNames = []string{"order", "customer", "preferences"}

// services are the three services in one. Their calls honour the context, and
// take rollback of time to do so.
type services struct {
	order, customer, preferences part

	mu      sync.Mutex
	running int // calls that have begun and not ended
}

// part is one service: what it does, and what was seen of its caller.
type part struct {
	name  string
	want  string                          // the key that it should be asked for
	takes time.Duration                   // until it answers
	fails error                           // what it then answers, if not its part of the card
	says  func(ctx context.Context) error // its error when the context ends first

	begun     int
	key       string // of its last call, as are the following
	trace     any    // the value that the caller's context holds
	cancelled bool   // the context ended the call
}

func newServices() *services {
	s := &services{}
	for i, p := range s.parts() {
		p.name, p.want = partNames[i], "c-4"
		p.takes = 100 * time.Millisecond
		p.says = func(ctx context.Context) error { return fmt.Errorf("%s service: %w", p.name, ctx.Err()) }
	}
	s.order.want = "o-17"
	return s
}

func (s *services) parts() []*part { return []*part{&s.order, &s.customer, &s.preferences} }

type traceKey struct{}

func (s *services) call(ctx context.Context, p *part, key string) error {
	s.mu.Lock()
	s.running++
	p.begun++
	p.key, p.trace = key, ctx.Value(traceKey{})
	s.mu.Unlock()

	err, cancelled := p.fails, false
	select {
	case <-time.After(p.takes):
	case <-ctx.Done():
		cancelled = true
		time.Sleep(rollback)
		err = p.says(ctx)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	p.cancelled = cancelled
	return err
}

func (s *services) Order(ctx context.Context, id string) (dispatch.Order, error) {
	if err := s.call(ctx, &s.order, id); err != nil {
		return dispatch.Order{}, err
	}
	return whole.Order, nil
}

func (s *services) Customer(ctx context.Context, id string) (card.Customer, error) {
	if err := s.call(ctx, &s.customer, id); err != nil {
		return card.Customer{}, err
	}
	return whole.Customer, nil
}

func (s *services) Preferences(ctx context.Context, customerID string) (card.Preferences, error) {
	if err := s.call(ctx, &s.preferences, customerID); err != nil {
		return card.Preferences{}, err
	}
	return whole.Preferences, nil
}
