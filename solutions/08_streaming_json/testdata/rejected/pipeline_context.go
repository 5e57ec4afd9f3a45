// finding: intake.context
//
// Reads ahead of Handle, both in one errgroup. A malformed order cancels the context
// of the good ones before it.

// Package intake takes the orders of a depot in bulk: one request, one JSON
// array, as many orders as the night has brought.
package intake

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"time"

	"github.com/go-chi/chi/v5"
	"golang.org/x/sync/errgroup"

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
//     sending orders is not cut off, however long that takes, and neither is
//     one that waits for Handle.
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

var (
	errOrderTooLarge = errors.New("order too large")
	errMalformed     = errors.New("not a JSON array of orders")
	errRefused       = errors.New("no more orders for now")
)

// take answers one request.
func take(cfg Config, w http.ResponseWriter, r *http.Request) {
	if mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); mt != "application/json" || err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		answer(w, http.StatusUnsupportedMediaType, 0, "want application/json")
		return
	}
	if r.ContentLength > cfg.MaxBody {
		answer(w, http.StatusRequestEntityTooLarge, 0, "body too large")
		return
	}
	body := &gate{
		src:  http.MaxBytesReader(w, r.Body, cfg.MaxBody),
		rc:   http.NewResponseController(w),
		idle: cfg.IdleTimeout,
	}
	accepted, err := stream(r.Context(), cfg, body)
	status, message := verdict(err)
	answer(w, status, accepted, message)
}

// stream reads orders in one goroutine and hands them on in another, so that
// neither the client nor Handle waits for the other more than it must.
func stream(ctx context.Context, cfg Config, body *gate) (accepted int, err error) {
	g, ctx := errgroup.WithContext(ctx)
	orders := make(chan dispatch.Order, 4) // a few orders, never the body
	g.Go(func() error {
		defer close(orders)
		return decode(ctx, cfg, body, orders)
	})
	g.Go(func() error {
		for o := range orders {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if cfg.Handle(ctx, o) != nil {
				return errRefused
			}
			accepted++
		}
		return nil
	})
	err = g.Wait()
	return accepted, err
}

// decode sends the orders of the body to out.
func decode(ctx context.Context, cfg Config, body *gate, out chan<- dispatch.Order) error {
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	body.allowed = 2 * cfg.MaxOrder
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	if tok != json.Delim('[') {
		return errMalformed
	}
	for {
		body.allowed = dec.InputOffset() + 2*cfg.MaxOrder
		if !dec.More() {
			break
		}
		var o dispatch.Order
		if err := dec.Decode(&o); err != nil {
			return err
		}
		if o.ID == "" {
			return errMalformed
		}
		select {
		case out <- o:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if _, err := dec.Token(); err != nil {
		return err
	}
	return blank(dec.Buffered(), body.rest())
}

// blank reads to the end, where nothing but blanks may be left.
func blank(readers ...io.Reader) error {
	all, buf := io.MultiReader(readers...), make([]byte, 4<<10)
	for {
		n, err := all.Read(buf)
		if len(bytes.Trim(buf[:n], " \t\r\n")) > 0 {
			return errMalformed
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// verdict chooses the status for the error of stream.
func verdict(err error) (status int, message string) {
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return http.StatusOK, ""
	case err == errRefused:
		return http.StatusServiceUnavailable, "no more orders for now"
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, "body too large"
	case errors.Is(err, errOrderTooLarge):
		return http.StatusRequestEntityTooLarge, "order too large"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout, "nothing arrived for too long"
	default:
		return http.StatusBadRequest, "not a JSON array of orders"
	}
}

// A gate stands before the body. It sets the read deadline anew for each Read,
// and lets no more bytes through than are allowed by now.
type gate struct {
	src           io.Reader
	rc            *http.ResponseController
	idle          time.Duration
	read, allowed int64
}

func (g *gate) Read(p []byte) (int, error) {
	room := g.allowed - g.read
	if room <= 0 {
		return 0, errOrderTooLarge
	}
	if int64(len(p)) > room {
		p = p[:room]
	}
	n, err := g.next(p)
	g.read += int64(n)
	return n, err
}

func (g *gate) next(p []byte) (int, error) {
	if err := g.rc.SetReadDeadline(time.Now().Add(g.idle)); err != nil {
		return 0, err
	}
	n, err := g.src.Read(p)
	if err == io.EOF {
		// The server now reads ahead by itself, and a deadline would end the
		// request's context while Handle works.
		_ = g.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}

// rest is what is behind the orders: it is not held, so it is not counted.
func (g *gate) rest() io.Reader { return readerFunc(g.next) }

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func answer(w http.ResponseWriter, status, accepted int, message string) {
	w.Header().Set("Content-Type", "application/json")
	if status != http.StatusOK {
		w.Header().Set("Connection", "close") // the body may not have been read
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Answer{accepted, message})
}
