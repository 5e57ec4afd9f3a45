// Design: json.Decoder token by token, over a stack of small readers (MaxBytesReader, per-Read deadline, bufio, per-order allowance).

// Package intake takes the orders of a depot in bulk: one request, one JSON
// array, as many orders as the night has brought.
package intake

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"os"
	"strings"
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
	errTooLarge  = errors.New("order too large")
	errMalformed = errors.New("malformed body")
	errRefused   = errors.New("handle refused")
	errDeadline  = errors.New("no read deadline")
)

// take answers one request.
func take(cfg Config, w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	refuse := func(status, accepted int, message string) {
		hangUp(w)
		// What net/http still reads after the answer ends by itself.
		_ = rc.SetReadDeadline(time.Now().Add(cfg.IdleTimeout))
		answer(w, status, accepted, message)
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if (err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter)) || media != "application/json" {
		refuse(http.StatusUnsupportedMediaType, 0, "the content type must be application/json")
		return
	}
	if r.ContentLength > cfg.MaxBody {
		refuse(http.StatusRequestEntityTooLarge, 0, "body too large")
		return
	}

	body := &patient{src: http.MaxBytesReader(w, r.Body, cfg.MaxBody), rc: rc, idle: cfg.IdleTimeout}
	n, err := handleAll(r.Context(), cfg, body)
	_, overBody := errors.AsType[*http.MaxBytesError](err)
	switch {
	case err == nil:
		answer(w, http.StatusOK, n, "")
	case errors.Is(err, errRefused):
		refuse(http.StatusServiceUnavailable, n, "no more orders for now")
	case errors.Is(err, errDeadline):
		refuse(http.StatusInternalServerError, n, "no read deadline")
	case overBody:
		refuse(http.StatusRequestEntityTooLarge, n, "body too large")
	case errors.Is(err, errTooLarge):
		refuse(http.StatusRequestEntityTooLarge, n, "order too large")
	case errors.Is(err, os.ErrDeadlineExceeded):
		refuse(http.StatusRequestTimeout, n, "nothing arrived for too long")
	default:
		refuse(http.StatusBadRequest, n, "the body must be one JSON array of orders, each with an id")
	}
}

// handleAll reads the body and hands its orders on. It returns how many were
// handled. An error of Handle does not get out of it.
func handleAll(ctx context.Context, cfg Config, body io.Reader) (accepted int, err error) {
	buffered := bufio.NewReader(body)
	if err := skipTo(buffered, '['); err != nil {
		return 0, err
	}
	src := &fence{src: buffered, left: 2 * cfg.MaxOrder}
	dec := json.NewDecoder(src)
	dec.DisallowUnknownFields()
	if _, err := dec.Token(); err != nil { // the bracket
		return 0, err
	}
	for {
		src.left = dec.InputOffset() + 2*cfg.MaxOrder - src.given
		if !dec.More() {
			break
		}
		var o dispatch.Order
		if err := dec.Decode(&o); err != nil {
			return accepted, err
		}
		if o.ID == "" {
			return accepted, errMalformed
		}
		if cfg.Handle(ctx, o) != nil {
			return accepted, errRefused
		}
		accepted++
	}
	if _, err := dec.Token(); err != nil { // the other bracket, or why More said no
		return accepted, err
	}
	src.left = math.MaxInt64
	return accepted, onlyBlanks(io.MultiReader(dec.Buffered(), src))
}

// skipTo skips blanks, and wants c to be what follows. It is not consumed.
func skipTo(r *bufio.Reader, c byte) error {
	for {
		b, err := r.ReadByte()
		switch {
		case err != nil:
			return err
		case blank(b):
		case b == c:
			return r.UnreadByte()
		default:
			return errMalformed
		}
	}
}

// onlyBlanks reads to the end.
func onlyBlanks(r io.Reader) error {
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Read(buf)
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

func blank(b byte) bool { return b == ' ' || b == '\t' || b == '\r' || b == '\n' }

// A fence gives left bytes and then errTooLarge.
type fence struct {
	src   io.Reader
	given int64
	left  int64
}

func (f *fence) Read(p []byte) (int, error) {
	if f.left <= 0 {
		return 0, errTooLarge
	}
	n, err := f.src.Read(p[:min(int64(len(p)), f.left)])
	f.given += int64(n)
	f.left -= int64(n)
	return n, err
}

// patient waits for idle in each Read. There is no deadline between two Reads,
// when Handle runs: it would end the request's context. An error stays.
type patient struct {
	src  io.Reader
	rc   *http.ResponseController
	idle time.Duration
	err  error
}

func (p *patient) Read(b []byte) (n int, err error) {
	if p.err != nil {
		return 0, p.err
	}
	if err := p.rc.SetReadDeadline(time.Now().Add(p.idle)); err != nil {
		p.err = errDeadline
		return 0, p.err
	}
	n, p.err = p.src.Read(b)
	_ = p.rc.SetReadDeadline(time.Time{})
	return n, p.err
}

// hangUp has the connection closed after the answer, without reading the rest
// of the body first. A MaxBytesReader that has hit its limit tells net/http to
// do so slowly, so that the answer reaches a client that is still sending.
func hangUp(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	_, _ = http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1))
}

func answer(w http.ResponseWriter, status, accepted int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Answer{accepted, message})
}
