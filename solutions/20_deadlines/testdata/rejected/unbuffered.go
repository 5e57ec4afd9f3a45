// finding: card.stuck

// As before, and nobody receives what the calls still answer: on an
// unbuffered channel each of them waits for good.

// Package card puts together what a courier sees of an order: the order, the
// customer it goes to, and how this customer wants parcels delivered. Three
// services know one part each.
package card

import (
	"context"
	"errors"
	"fmt"
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
func (l *Loader) Load(ctx context.Context, orderID string) (Card, error) {
	load, cancel := context.WithTimeoutCause(ctx, l.timeout, ErrTimeout)
	defer cancel()
	order, err := ask(load, load, l.orders.Order, orderID)
	if err != nil {
		return Card{}, fmt.Errorf("card: order %s: %w", orderID, err)
	}
	both, stop := context.WithCancel(load)
	defer stop()
	var customer Customer
	var preferences Preferences
	done := make(chan error)
	go func() {
		v, err := ask(load, both, l.customers.Customer, order.Recipient)
		customer = v
		done <- err
	}()
	go func() {
		v, err := ask(load, both, l.preferences.Preferences, order.Recipient)
		preferences = v
		done <- err
	}()
	for range 2 {
		select {
		case err = <-done:
		case <-load.Done():
			err = explain(load, errNotAsked)
		}
		if err != nil {
			return Card{}, fmt.Errorf("card: order %s: %w", orderID, err)
		}
	}
	return Card{order, customer, preferences}, nil
}

// ask makes one call, unless its context ctx has ended. That is the context
// of the load or a child of it.
func ask[T any](load, ctx context.Context, call func(context.Context, string) (T, error), key string) (T, error) {
	if ctx.Err() != nil {
		var none T
		return none, explain(load, errNotAsked)
	}
	v, err := call(ctx, key)
	if err != nil {
		// Now, and not after the Wait: the load may end while the other call
		// is still on its way back, and then this failure came first.
		return v, explain(load, err)
	}
	return v, nil
}

var errNotAsked = errors.New("no call begun")

// explain adds to the error of a call who ended the load, if anyone did. It
// asks the context, because the error of an interrupted call may say anything.
func explain(load context.Context, err error) error {
	switch cause := context.Cause(load); {
	case cause == nil:
		return err
	case errors.Is(cause, ErrTimeout):
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	default:
		return fmt.Errorf("%w: %w: %w", load.Err(), cause, err)
	}
}
