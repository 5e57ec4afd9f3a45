// finding: log.reason
//
// An order without an id is booked: only its address is looked at.

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
	"regexp"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

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
}

// New makes a Service that is ready to use.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// ServeHTTP books the order in the body, and answers with a Booking or a
// Refusal.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	var req Request
	var b Booking
	err := json.NewDecoder(r.Body).Decode(&req)
	if err != nil {
		err = fmt.Errorf("%w: %w", errUnreadable, err)
	} else {
		b, err = s.Book(r.Context(), req)
	}

	log := s.cfg.Logger.With(
		zap.String("orderID", req.ID),
		zap.String("traceID", s.cfg.TraceID(r.Context())),
		zap.Duration("duration", time.Since(start)),
	)
	if err != nil {
		status, level, refusal := refuse(err, req)
		log.Log(level, "order refused", zap.Error(err), zap.String("reason", refusal.Reason), zap.String("code", refusal.Code))
		answer(w, status, refusal)
		return
	}
	log.Info("order booked", zap.String("depot", req.Depot), zap.String("courier", b.Courier))
	answer(w, http.StatusCreated, b)
}

// Book charges the card and finds a courier. It returns its error and does not
// log it: whoever answers does. The text of the error is as free of secrets as
// the log, and its chain holds what Charge or Assign gave.
func (s *Service) Book(ctx context.Context, req Request) (Booking, error) {
	if req.Address == "" {
		return Booking{}, ErrIncomplete
	}
	payment, err := s.cfg.Charge(ctx, req)
	if err != nil {
		return Booking{}, mask(fmt.Errorf("charge: %w", err), req)
	}
	courier, err := s.cfg.Assign(ctx, req.Order)
	if err != nil {
		return Booking{}, mask(fmt.Errorf("assign: %w", err), req)
	}
	return Booking{Order: req.ID, Payment: payment, Courier: courier}, nil
}

var errUnreadable = errors.New("order unreadable")

// refuse tells what err means: to the depot, and to whoever is on call.
func refuse(err error, req Request) (status int, level zapcore.Level, r Refusal) {
	declined, isDeclined := errors.AsType[*DeclinedError](err)
	switch {
	case errors.Is(err, errUnreadable), errors.Is(err, ErrIncomplete):
		return http.StatusBadRequest, zap.WarnLevel, Refusal{Reason: "invalid"}
	case isDeclined:
		return http.StatusPaymentRequired, zap.WarnLevel, Refusal{Reason: "declined", Code: clean(declined.Code, req)}
	case errors.Is(err, context.Canceled):
		return 499, zap.WarnLevel, Refusal{Reason: "canceled"}
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout, zap.ErrorLevel, Refusal{Reason: "timeout"}
	default:
		return http.StatusInternalServerError, zap.ErrorLevel, Refusal{Reason: "internal"}
	}
}

// masked is an error whose own text may be shown. The chain behind it is whole.
type masked struct {
	text string
	err  error
}

func (m *masked) Error() string { return m.text }
func (m *masked) Unwrap() error { return m.err }

const stars = "***"

// mask gives err a text that may be shown.
func mask(err error, req Request) error { return &masked{clean(err.Error(), req), err} }

// clean takes what the depot entrusted to us out of a text.
func clean(text string, req Request) string {
	if number := digits(req.Card.Number); number != "" { // before the CVC, whose digits it may hold
		grouped := regexp.MustCompile(strings.Join(strings.Split(number, ""), "[ -]?"))
		text = grouped.ReplaceAllString(text, stars)
	}
	for _, secret := range []string{req.Address, req.Recipient, req.Card.CVC} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, stars)
		}
	}
	return text
}

func digits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
