// The preferences run beside the goroutine that called, which asks for the
// customer itself. The error is a type with an Is of its own.

// Package card puts together what a courier sees of an order: the order, the
// customer it goes to, and how this customer wants parcels delivered. Three
// services know one part each.
package card

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"pitstop/lessons/dispatch"
)

// DefaultTimeout is the time of a Load where Config names none.
const DefaultTimeout = 2 * time.Second

// ErrTimeout says that a Load used up the loader's own Timeout. The caller was
// still waiting, so a handler answers 503. Where the caller's context ended,
// the error is the caller's, never this one.
var ErrTimeout = errors.New("card: out of time")

// Customer is who an order goes to.
type Customer struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Phone string `json:"phone"`
}

// Preferences is how a customer wants parcels delivered.
type Preferences struct {
	SafePlace string `json:"safe_place"` // as "behind the shed"
	Window    string `json:"window"`     // as "17-19"
}

// Card is an order with all that its courier needs. It is whole: a part that
// could not be had is an error, not an empty field.
type Card struct {
	Order       dispatch.Order `json:"order"`
	Customer    Customer       `json:"customer"`
	Preferences Preferences    `json:"preferences"`
}

// The services. A call comes back soon after its context has ended, with
// whatever error its client makes of that, or with its answer. No error means
// that the answer is whole.
type (
	OrderService interface {
		Order(ctx context.Context, id string) (dispatch.Order, error)
	}
	CustomerService interface {
		Customer(ctx context.Context, id string) (Customer, error)
	}
	PreferenceService interface {
		Preferences(ctx context.Context, customerID string) (Preferences, error)
	}
)

// Config names the services of a Loader, and its time.
type Config struct {
	Orders      OrderService
	Customers   CustomerService
	Preferences PreferenceService

	// Timeout is the most time that one Load may use, all its calls together.
	// The caller's deadline may be sooner. Below 1 it counts as DefaultTimeout.
	Timeout time.Duration
}

// Loader loads cards. It may be used from several goroutines at once.
type Loader struct {
	orders      OrderService
	customers   CustomerService
	preferences PreferenceService
	timeout     time.Duration
}

// New returns a Loader.
func New(cfg Config) *Loader {
	if cfg.Timeout < 1 {
		cfg.Timeout = DefaultTimeout
	}
	return &Loader{cfg.Orders, cfg.Customers, cfg.Preferences, cfg.Timeout}
}

// Load returns the card of an order, or an error and the zero Card. The
// customer's ID is the order's Recipient.
//
// Load ends when ctx does, when the Timeout is used up, or when a call has
// failed, whichever is first. No call begins after that, and when Load returns
// none of its calls is still running.
//
// The error says which of the three was first: it wraps ctx.Err() and the
// cause of ctx, or ErrTimeout, or the error of the call that failed. What
// happens while Load waits for its calls to come back does not change that.
func (l *Loader) Load(caller context.Context, orderID string) (Card, error) {
	ctx, cancel := context.WithDeadlineCause(caller, time.Now().Add(l.timeout), ErrTimeout)
	defer cancel()
	c, err := l.load(ctx, orderID)
	if err != nil {
		return Card{}, err
	}
	return c, nil
}

func (l *Loader) load(load context.Context, orderID string) (c Card, err error) {
	ended := func(err error) error { return &loadError{orderID, load.Err(), context.Cause(load), err} }
	if err := load.Err(); err != nil {
		return c, ended(err)
	}
	if c.Order, err = l.orders.Order(load, orderID); err != nil {
		return c, ended(err)
	}
	if err := load.Err(); err != nil {
		return c, ended(err)
	}
	ctx, cancel := context.WithCancel(load)
	defer cancel()
	var first error
	var once sync.Once
	fail := func(err error) {
		once.Do(func() { first = ended(err); cancel() })
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		if c.Preferences, err = l.preferences.Preferences(ctx, c.Order.Recipient); err != nil {
			fail(err)
		}
	}()
	if c.Customer, err = l.customers.Customer(ctx, c.Order.Recipient); err != nil {
		fail(err)
	}
	<-done
	return c, first
}

// loadError is a Load that was not whole, and what ended its context.
type loadError struct {
	order             string
	ended, cause, err error
}

func (e *loadError) Error() string {
	if e.ended != nil {
		return fmt.Sprintf("card: order %s: %v: %v", e.order, e.cause, e.err)
	}
	return fmt.Sprintf("card: order %s: %v", e.order, e.err)
}

func (e *loadError) Unwrap() error { return e.err }

func (e *loadError) Is(target error) bool {
	switch {
	case e.ended == nil:
		return false
	case errors.Is(e.cause, ErrTimeout):
		return target == ErrTimeout
	}
	return target == e.ended || errors.Is(e.cause, target)
}
