// finding: log.reason
//
// Asks the request before it asks the error: drivers seldom wrap context.Canceled. A
// declined card, and a dead database, whose depot hung up meanwhile are then told as 499.
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
	log *zap.Logger
}

// New makes a Service that is ready to use.
func New(cfg Config) *Service {
	return &Service{cfg: cfg, log: cfg.Logger}
}

// ServeHTTP books the order in the body, and answers with a Booking or a
// Refusal.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start, ctx := time.Now(), r.Context()
	var req Request
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		log := s.logFor(ctx, "")
		log.Warn("order unreadable", zap.Duration("duration", time.Since(start)), zap.String("reason", "invalid"), zap.Error(err))
		answer(w, http.StatusBadRequest, Refusal{Reason: "invalid"})
		return
	}
	log := s.logFor(ctx, req.ID)
	log.Debug("order received")
	b, err := s.Book(ctx, req)
	if err != nil {
		status, level, refusal := refuse(ctx, err, newRedactor(req))
		fields := []zap.Field{zap.Duration("duration", time.Since(start)), zap.String("reason", refusal.Reason), zap.Error(err)}
		if refusal.Reason == "declined" {
			fields = append(fields, zap.String("code", refusal.Code))
		}
		log.Log(level, "order refused", fields...)
		answer(w, status, refusal)
		return
	}
	log.Info("order booked", zap.Duration("duration", time.Since(start)), zap.String("courier", b.Courier))
	answer(w, http.StatusCreated, b)
}

// logFor is the logger of one request.
func (s *Service) logFor(ctx context.Context, orderID string) *zap.Logger {
	return s.log.With(zap.String("orderID", orderID), zap.String("traceID", s.cfg.TraceID(ctx)))
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
		return Booking{}, newRedactor(req).error("charge", err)
	}
	courier, err := s.cfg.Assign(ctx, req.Order)
	if err != nil {
		return Booking{}, newRedactor(req).error("assign", err)
	}
	return Booking{Order: req.ID, Payment: payment, Courier: courier}, nil
}

// refuse tells what err means to the depot and to the log.
func refuse(ctx context.Context, err error, r redactor) (int, zapcore.Level, Refusal) {
	// A driver seldom wraps context.Canceled ("operation was canceled"), so
	// look whether the depot is still there before looking at the error.
	if errors.Is(ctx.Err(), context.Canceled) {
		return 499, zap.WarnLevel, Refusal{Reason: "canceled"}
	}
	if declined, ok := errors.AsType[*DeclinedError](err); ok {
		return http.StatusPaymentRequired, zap.WarnLevel, Refusal{Reason: "declined", Code: r.text(declined.Code)}
	}
	switch {
	case errors.Is(err, ErrIncomplete):
		return http.StatusBadRequest, zap.WarnLevel, Refusal{Reason: "invalid"}
	case errors.Is(err, context.Canceled):
		return 499, zap.WarnLevel, Refusal{Reason: "canceled"}
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout, zap.ErrorLevel, Refusal{Reason: "timeout"}
	default:
		return http.StatusInternalServerError, zap.ErrorLevel, Refusal{Reason: "internal"}
	}
}

// redactor takes the secrets of one request out of a text.
type redactor []*regexp.Regexp

func newRedactor(req Request) redactor {
	var r redactor
	for _, secret := range []string{req.Address, req.Recipient} {
		if secret = strings.TrimSpace(secret); secret != "" {
			r = append(r, regexp.MustCompile(regexp.QuoteMeta(secret)))
		}
	}
	var digits []string
	for _, c := range req.Card.Number {
		if c >= '0' && c <= '9' {
			digits = append(digits, string(c))
		}
	}
	if len(digits) > 0 {
		r = append(r, regexp.MustCompile(strings.Join(digits, `[^\pL\pN]*`)))
	}
	if cvc := strings.TrimSpace(req.Card.CVC); cvc != "" {
		r = append(r, regexp.MustCompile(regexp.QuoteMeta(cvc)))
	}
	return r
}

func (r redactor) text(s string) string {
	for _, re := range r {
		s = re.ReplaceAllLiteralString(s, "[redacted]")
	}
	return s
}

func (r redactor) error(step string, err error) error {
	return &redactedError{text: step + ": " + r.text(err.Error()), cause: err}
}

// redactedError has a text without secrets, and the chain of its cause.
type redactedError struct {
	text  string
	cause error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.cause }

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
