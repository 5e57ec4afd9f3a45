// The steps get the logger as an argument. One deferred entry tells how it ended, in a
// closure, so that it sees the results. The secrets go at the edge of each step,
// and the masked error is joined around what the step gave.

// Package booking takes one order from a depot: it charges the card, finds a
// courier and answers. Its log is what the support desk searches when a parcel
// does not come, and what wakes somebody at night.
package booking

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"

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
func New(cfg Config) *Service { return &Service{cfg} }

// ServeHTTP books the order in the body, and answers with a Booking or a
// Refusal.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var (
		req   Request
		b     Booking
		err   error
		begun = time.Now()
	)
	defer func() {
		log := s.cfg.Logger.Sugar().With("orderID", req.ID, "traceID", s.cfg.TraceID(r.Context()), "duration", time.Since(begun))
		if err == nil {
			log.Infow("order booked", "courier", b.Courier)
			answer(w, http.StatusCreated, b)
			return
		}
		o := outcomeOf(err)
		o.code = req.clean(o.code)
		fields := []any{"reason", o.reason, "error", err.Error()}
		if o.code != "" {
			fields = append(fields, "code", o.code)
		}
		log.Logw(o.level, "order not booked", fields...)
		answer(w, o.status, Refusal{Reason: o.reason, Code: o.code})
	}()
	if err = json.NewDecoder(r.Body).Decode(&req); err != nil {
		err = &invalidError{err}
		return
	}
	b, err = s.Book(r.Context(), req)
}

// Book charges the card and finds a courier. It returns its error and does not
// log it: whoever answers does. The text of the error is as free of secrets as
// the log, and its chain holds what Charge or Assign gave.
func (s *Service) Book(ctx context.Context, req Request) (Booking, error) {
	log := s.cfg.Logger.With(zap.String("orderID", req.ID), zap.String("traceID", s.cfg.TraceID(ctx)))
	if req.ID == "" || req.Address == "" {
		return Booking{}, &invalidError{ErrIncomplete}
	}
	payment, err := s.charge(ctx, log, req)
	if err != nil {
		return Booking{}, err
	}
	courier, err := s.assign(ctx, log, req)
	if err != nil {
		return Booking{}, err
	}
	return Booking{req.ID, payment, courier}, nil
}

func (s *Service) charge(ctx context.Context, log *zap.Logger, req Request) (string, error) {
	payment, err := s.cfg.Charge(ctx, req)
	if err != nil {
		return "", &stepFailure{"charge: ", err, req}
	}
	log.Info("card charged", zap.String("payment", payment))
	return payment, nil
}

func (s *Service) assign(ctx context.Context, log *zap.Logger, req Request) (string, error) {
	courier, err := s.cfg.Assign(ctx, req.Order)
	if err != nil {
		return "", &stepFailure{"assign: ", err, req}
	}
	log.Info("courier found", zap.String("courier", courier))
	return courier, nil
}

// invalidError is the depot's own fault.
type invalidError struct{ err error }

func (e *invalidError) Error() string { return "order cannot be booked: " + e.err.Error() }
func (e *invalidError) Unwrap() error { return e.err }

// stepFailure masks its text when it is asked for it.
type stepFailure struct {
	step string
	err  error
	req  Request
}

func (e *stepFailure) Unwrap() error { return e.err }
func (e *stepFailure) Error() string { return e.step + e.req.clean(e.err.Error()) }

// clean takes what the depot sent out of a text.
func (r Request) clean(text string) string {
	text = withoutNumber(text, r.Card.Number)
	var pairs []string
	for _, s := range []string{r.Address, r.Recipient, r.Card.CVC} {
		if s != "" {
			pairs = append(pairs, s, "[...]")
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// withoutNumber reads text and number side by side, and skips what may stand
// between two digits.
func withoutNumber(text, number string) string {
	var want []rune
	for _, r := range number {
		if unicode.IsDigit(r) {
			want = append(want, r)
		}
	}
	if len(want) == 0 {
		return text
	}
	in := []rune(text)
	var out []rune
	for i := 0; i < len(in); {
		j, k := i, 0
		for j < len(in) && k < len(want) {
			if in[j] == want[k] {
				k++
			} else if k == 0 || (in[j] != ' ' && in[j] != '-') {
				break
			}
			j++
		}
		if k == len(want) {
			out, i = append(out, []rune("[card]")...), j
			continue
		}
		out, i = append(out, in[i]), i+1
	}
	return string(out)
}

type outcome struct {
	status       int
	level        zapcore.Level
	reason, code string
}

func outcomeOf(err error) outcome {
	if _, ok := errors.AsType[*invalidError](err); ok {
		return outcome{400, zap.WarnLevel, "invalid", ""}
	}
	var declined *DeclinedError
	if errors.As(err, &declined) {
		return outcome{402, zap.WarnLevel, "declined", declined.Code}
	}
	if errors.Is(err, context.Canceled) {
		return outcome{499, zap.WarnLevel, "canceled", ""}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return outcome{504, zap.ErrorLevel, "timeout", ""}
	}
	return outcome{500, zap.ErrorLevel, "internal", ""}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
