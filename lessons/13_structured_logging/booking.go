// Package booking takes one order from a depot: it charges the card, finds a
// courier and answers. Its log is what the support desk searches when a parcel
// does not come, and what wakes somebody at night.
package booking

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"go.uber.org/zap"

	"pitstop/lessons/dispatch"
)

// ErrIncomplete means that an order cannot be booked as it was sent.
var ErrIncomplete = errors.New("order incomplete")

// DeclinedError is what Charge returns, wrapped or not, when the bank says no.
type DeclinedError struct {
	Code string // the bank's word for it, as "insufficient_funds"
}

func (e *DeclinedError) Error() string { return "card declined: " + e.Code }

// Card pays for an order. It may be empty: some depots have an account.
type Card struct {
	Number string `json:"number"` // as typed, with or without blanks and dashes
	CVC    string `json:"cvc"`
}

// Request is what a depot sends.
type Request struct {
	dispatch.Order
	Card Card `json:"card"`
}

// Booking is what a depot gets for an order that was taken.
type Booking struct {
	Order   string `json:"order"`
	Payment string `json:"payment"`
	Courier string `json:"courier"`
}

// Refusal is what a depot gets for an order that was not.
type Refusal struct {
	Reason string `json:"reason"`
	Code   string `json:"code,omitempty"` // of a DeclinedError
}

// Config says what a Service works with. All of it is needed.
type Config struct {
	Logger  *zap.Logger
	TraceID func(context.Context) string // reads the id that the request came with
	Charge  func(context.Context, Request) (payment string, err error)
	Assign  func(context.Context, dispatch.Order) (courier string, err error)
}

// Service books orders and logs what becomes of them.
//
// Each entry carries orderID and traceID, and no key twice; orderID is ""
// where the body told none. Messages are constant, so that entries can be
// counted: what differs from order to order is in the fields. One entry of
// each request has the field duration, a time.Duration: how long it took.
// That entry says how it ended:
//
//	status  level  reason    when
//	201     Info             the order is booked
//	400     Warn   invalid   the body is unreadable, or ErrIncomplete
//	402     Warn   declined  *DeclinedError; its Code is in the field code
//	499     Warn   canceled  context.Canceled: the depot has gone
//	504     Error  timeout   context.DeadlineExceeded
//	500     Error  internal  anything else
//
// An error is told by what is in its chain, wrapped or joined, and not by its
// text, nor by the request's context. Its text is in the field error of that
// one entry and nowhere else, and no other entry of the request is of level
// Warn or above.
//
// The card's number, in whatever grouping, its CVC, and the recipient's name
// and address are in no entry and in no refusal, also when Charge or Assign
// put them into an error, or into its Code. The rest of that error stays
// readable.
type Service struct {
	cfg Config
	log *zap.SugaredLogger
}

// New makes a Service that is ready to use.
func New(cfg Config) *Service {
	return &Service{cfg: cfg, log: cfg.Logger.Sugar()}
}

// ServeHTTP books the order in the body, and answers with a Booking or a
// Refusal.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start, ctx := time.Now(), r.Context()
	var req Request
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		s.log.Errorf("trace %s: unreadable order: %v", s.cfg.TraceID(ctx), err)
		answer(w, http.StatusBadRequest, Refusal{Reason: "invalid"})
		return
	}
	s.log.Infof("trace %s: order %s received: %+v", s.cfg.TraceID(ctx), req.ID, req)
	b, err := s.Book(ctx, req)
	if err != nil {
		s.log.Errorf("order %s failed after %v, error type %s: %v", req.ID, time.Since(start), reflect.TypeOf(err), err)
		status, refusal := refuse(err)
		answer(w, status, refusal)
		return
	}
	s.log.Infof("order %s booked in %v, courier %s", req.ID, time.Since(start), b.Courier)
	answer(w, http.StatusCreated, b)
}

// Book charges the card and finds a courier. It returns its error and does not
// log it: whoever answers does. The text of the error is as free of secrets as
// the log, and its chain holds what Charge or Assign gave.
func (s *Service) Book(ctx context.Context, req Request) (Booking, error) {
	if req.ID == "" || req.Address == "" {
		return Booking{}, fmt.Errorf("order %q: %w", req.ID, ErrIncomplete)
	}
	payment, err := s.cfg.Charge(ctx, req)
	if err != nil {
		s.log.Errorf("charging order %s: %v", req.ID, err)
		return Booking{}, fmt.Errorf("charge: %w", err)
	}
	courier, err := s.cfg.Assign(ctx, req.Order)
	if err != nil {
		s.log.Errorf("no courier for order %s: %v", req.ID, err)
		return Booking{}, fmt.Errorf("assign: %w", err)
	}
	return Booking{Order: req.ID, Payment: payment, Courier: courier}, nil
}

// refuse tells what err means to the depot.
func refuse(err error) (int, Refusal) {
	switch e := err.(type) {
	case *DeclinedError:
		return http.StatusPaymentRequired, Refusal{Reason: "declined", Code: e.Code}
	default:
		return http.StatusInternalServerError, Refusal{Reason: "internal"}
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
