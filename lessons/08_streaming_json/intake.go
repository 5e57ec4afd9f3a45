// Package intake takes the orders of a depot in bulk: one request, one JSON
// array, as many orders as the night has brought.
package intake

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/go-chi/chi/v5"

	"pitstop/lessons/dispatch"
)

// Path is where a depot posts its orders.
const Path = "/orders"

// Config is what [New] needs. A limit of 0 stands for its default.
type Config struct {
	// Handle takes one order. It is called for each order of a body, in their
	// order, one after the other, with the request's context. Its error is
	// that of a service that can take no more for now.
	Handle func(ctx context.Context, o dispatch.Order) error

	MaxBody     int64         // bytes of a whole body; by default 256 MiB
	MaxOrder    int64         // bytes of one order; by default 64 KiB
	IdleTimeout time.Duration // how long a client may send nothing; by default 30 s
}

// Answer is the body of an answer. The first Accepted orders of the request
// have been handled and none after them, whatever the status: a depot goes on
// from there. Error is for people. It never quotes the body, which holds names
// and addresses, nor an error of Handle.
type Answer struct {
	Accepted int    `json:"accepted"`
	Error    string `json:"error,omitempty"`
}

// New returns the handler for a POST to [Path]. The body is one JSON array of
// orders and nothing else. An order is handled as soon as it has arrived, and
// then forgotten: a request needs memory for a few orders of MaxOrder bytes,
// never for its body, be it orders, blanks or rubbish.
//
//   - 200: every order of the body was handled.
//   - 400: the body is not a JSON array of orders, ends too soon, or goes on
//     after the array. An order has an id and no field but its own.
//   - 408: the client sent nothing for IdleTimeout. A client that keeps
//     sending is not cut off, however long an order takes, and neither is one
//     that waits for Handle.
//   - 413: the body has more than MaxBody bytes, said or unsaid, or an order
//     has more than twice MaxOrder. Orders up to MaxOrder are taken. What comes
//     after the limit is not read.
//   - 415: the content type is not application/json, with or without parameters.
//   - 503: Handle refused an order. No more are tried.
func New(cfg Config) http.Handler {
	cfg.MaxBody = cmp.Or(cfg.MaxBody, 256<<20)
	cfg.MaxOrder = cmp.Or(cfg.MaxOrder, 64<<10)
	cfg.IdleTimeout = cmp.Or(cfg.IdleTimeout, 30*time.Second)

	r := chi.NewRouter()
	r.Post(Path, func(w http.ResponseWriter, r *http.Request) { take(cfg, w, r) })
	return r
}

// take answers one request.
func take(cfg Config, w http.ResponseWriter, r *http.Request) {
	if r.ContentLength > cfg.MaxBody {
		answer(w, http.StatusRequestEntityTooLarge, 0, "body too large")
		return
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(cfg.IdleTimeout)); err != nil {
		answer(w, http.StatusInternalServerError, 0, "no read deadline")
		return
	}
	body, err := io.ReadAll(r.Body)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		answer(w, http.StatusRequestTimeout, 0, "nothing arrived for too long")
		return
	case err != nil:
		answer(w, http.StatusBadRequest, 0, "body ends too soon")
		return
	case int64(len(body)) > cfg.MaxBody:
		answer(w, http.StatusRequestEntityTooLarge, 0, "body too large")
		return
	}

	var orders []json.RawMessage
	if err := json.Unmarshal(body, &orders); err != nil {
		answer(w, http.StatusBadRequest, 0, err.Error())
		return
	}
	for n, raw := range orders {
		if int64(len(raw)) > cfg.MaxOrder {
			answer(w, http.StatusRequestEntityTooLarge, n, "order too large")
			return
		}
		var o dispatch.Order
		if err := json.Unmarshal(raw, &o); err != nil {
			answer(w, http.StatusBadRequest, n, err.Error())
			return
		}
		if o.ID == "" {
			answer(w, http.StatusBadRequest, n, "order without id")
			return
		}
		if err := cfg.Handle(r.Context(), o); err != nil {
			answer(w, http.StatusServiceUnavailable, n, "no more orders for now")
			return
		}
	}
	answer(w, http.StatusOK, len(orders), "")
}

func answer(w http.ResponseWriter, status, accepted int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Answer{accepted, message})
}
