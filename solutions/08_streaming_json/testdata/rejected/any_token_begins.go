// finding: intake.malformed
//
// An object is no array, but one without a field looks like an empty one.

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
	"github.com/go-chi/chi/v5/middleware"

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
	r.With(middleware.AllowContentType("application/json")).
		Post(Path, func(w http.ResponseWriter, r *http.Request) { take(cfg, w, r) })
	return r
}

var (
	errMalformed     = errors.New("not a JSON array of orders")
	errOrderTooLarge = errors.New("order too large")
	errRefused       = errors.New("no more orders for now")
)

// take answers one request.
func take(cfg Config, w http.ResponseWriter, r *http.Request) {
	body := &body{
		src:  http.MaxBytesReader(w, r.Body, cfg.MaxBody),
		conn: http.NewResponseController(w),
		idle: cfg.IdleTimeout,
	}
	accepted, err := decode(body, 2*cfg.MaxOrder, func(o dispatch.Order) error {
		return cfg.Handle(r.Context(), o)
	})
	status, message := describe(err)
	if err != nil {
		w.Header().Set("Connection", "close") // nobody will read the rest of the body
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Answer{accepted, message})
}

// decode hands on the orders of body one by one, and reports how many. An
// order, with the blanks in front of it, may have most bytes.
func decode(body *body, most int64, handle func(dispatch.Order) error) (n int, err error) {
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()

	body.allow(most)
	if _, err := dec.Token(); err != nil { // the opening bracket
		return 0, err
	}
	for dec.More() {
		var o dispatch.Order // a new one: Decode leaves fields alone that an order does not have
		if err := dec.Decode(&o); err != nil {
			return n, err
		}
		if o.ID == "" {
			return n, errMalformed
		}
		if handle(o) != nil {
			return n, errRefused
		}
		n++
		body.allow(dec.InputOffset() + most)
	}
	if _, err := dec.Token(); err != nil { // the closing bracket
		return n, err
	}
	switch _, err := dec.Token(); err {
	case io.EOF:
		return n, nil
	case nil:
		return n, errMalformed
	default:
		return n, err
	}
}

// describe gives the answer to err. Errors of encoding/json quote what they
// refuse, so none of their words gets into it.
func describe(err error) (status int, message string) {
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case err == nil:
		return http.StatusOK, ""
	case err == errRefused:
		return http.StatusServiceUnavailable, err.Error()
	case err == errOrderTooLarge:
		return http.StatusRequestEntityTooLarge, err.Error()
	case tooLarge:
		return http.StatusRequestEntityTooLarge, "body too large"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout, "nothing arrived for too long"
	default:
		return http.StatusBadRequest, errMalformed.Error()
	}
}

// body is a request's body. It ends with errOrderTooLarge where no more is
// allowed, and with os.ErrDeadlineExceeded where nothing comes.
type body struct {
	src  io.Reader
	conn *http.ResponseController
	idle time.Duration

	read, end int64
}

// allow lets the body be read up to the offset end.
func (b *body) allow(end int64) { b.end = end }

func (b *body) Read(p []byte) (int, error) {
	room := b.end - b.read
	if room <= 0 {
		return 0, errOrderTooLarge
	}
	if err := b.conn.SetReadDeadline(time.Now().Add(b.idle)); err != nil {
		return 0, err
	}
	n, err := b.src.Read(p[:min(int64(len(p)), room)])
	b.read += int64(n)
	return n, err
}
