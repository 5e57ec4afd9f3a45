// A WaitGroup, and a context that is cancelled with the failure as its cause:
// the first cause stays, so nothing else has to be remembered.

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
	ctx, fail := context.WithCancelCause(caller)
	defer fail(nil)
	defer time.AfterFunc(l.timeout, func() { fail(ErrTimeout) }).Stop()

	var c Card
	step(ctx, fail, &c.Order, l.orders.Order, orderID)
	var wg sync.WaitGroup
	wg.Go(func() { step(ctx, fail, &c.Customer, l.customers.Customer, c.Order.Recipient) })
	wg.Go(func() { step(ctx, fail, &c.Preferences, l.preferences.Preferences, c.Order.Recipient) })
	wg.Wait()

	if ctx.Err() == nil {
		return c, nil
	}
	cause := context.Cause(ctx)
	if caller.Err() != nil && cause == context.Cause(caller) {
		return Card{}, fmt.Errorf("card: order %s: %w (%w)", orderID, caller.Err(), cause)
	}
	return Card{}, fmt.Errorf("card: order %s: %w", orderID, cause)
}

// step fills one part of a card, unless the load is over.
func step[T any](ctx context.Context, fail context.CancelCauseFunc, part *T, call func(context.Context, string) (T, error), key string) {
	if ctx.Err() != nil {
		return
	}
	v, err := call(ctx, key)
	if err != nil {
		fail(err)
		return
	}
	*part = v
}
