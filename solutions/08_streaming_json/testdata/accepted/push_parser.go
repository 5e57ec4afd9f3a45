// Design: hand-written push parser, a state machine fed with fixed chunks of the body, that cuts out raw orders; no decoder sees the stream.

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

// A refusal is an answer other than 200.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

var (
	notJSON       = &refusal{http.StatusUnsupportedMediaType, "send application/json"}
	bodyTooLarge  = &refusal{http.StatusRequestEntityTooLarge, "body too large"}
	orderTooLarge = &refusal{http.StatusRequestEntityTooLarge, "order too large"}
	tooSilent     = &refusal{http.StatusRequestTimeout, "nothing arrived for too long"}
	tooShort      = &refusal{http.StatusBadRequest, "body ends too soon"}
	notAnArray    = &refusal{http.StatusBadRequest, "not a JSON array of orders"}
	badOrder      = &refusal{http.StatusBadRequest, "not an order, or without id"}
	noMore        = &refusal{http.StatusServiceUnavailable, "no more orders for now"}
	noDeadline    = &refusal{http.StatusInternalServerError, "no read deadline"}
)

// take answers one request.
func take(cfg Config, w http.ResponseWriter, r *http.Request) {
	t := &taker{cfg: cfg, ctx: r.Context(), conn: http.NewResponseController(w)}
	why := t.run(r)
	if why == nil {
		answer(w, http.StatusOK, t.accepted, "")
		return
	}
	hangUp(w)
	// net/http reads a little more after the answer, and must not do so for good.
	_ = t.conn.SetReadDeadline(time.Now().Add(cfg.IdleTimeout))
	answer(w, why.status, t.accepted, why.message)
}

// A taker reads one body.
type taker struct {
	cfg      Config
	ctx      context.Context
	conn     *http.ResponseController
	accepted int

	at      place
	raw     []byte // of the order that is arriving
	closers []byte // the brackets that are open in it
	text    bool   // within a string
	escaped bool   // after a backslash
}

// place is what a taker expects.
type place int

const (
	beforeArray place = iota
	firstOrder        // or the end of the array
	nextOrder
	inOrder
	afterOrder
	afterArray
)

func (t *taker) run(r *http.Request) *refusal {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		return notJSON
	}
	if r.ContentLength > t.cfg.MaxBody {
		return bodyTooLarge
	}
	chunk := make([]byte, 16<<10)
	for left := t.cfg.MaxBody; ; {
		// One byte more than may come tells whether too much comes.
		want := chunk
		if left < int64(len(want)) {
			want = want[:left+1]
		}
		n, err := t.read(r.Body, want)
		over := int64(n) > left
		got := want[:min(int64(n), left)]
		left -= int64(len(got))
		if why := t.feed(got); why != nil {
			return why
		}
		switch {
		case over:
			return bodyTooLarge
		case err == nil:
		case errors.Is(err, errNoDeadline):
			return noDeadline
		case errors.Is(err, os.ErrDeadlineExceeded):
			return tooSilent
		case err == io.EOF && t.at == afterArray:
			return nil
		default:
			return tooShort
		}
	}
}

var errNoDeadline = errors.New("no read deadline")

// read has a deadline, and leaves none behind: Handle may take its time, and
// a deadline that passes meanwhile would end the request's context.
func (t *taker) read(body io.Reader, p []byte) (int, error) {
	if t.conn.SetReadDeadline(time.Now().Add(t.cfg.IdleTimeout)) != nil {
		return 0, errNoDeadline
	}
	defer t.conn.SetReadDeadline(time.Time{})
	return body.Read(p)
}

// feed goes on with what has arrived. Each order in it is handled.
func (t *taker) feed(p []byte) *refusal {
	for _, b := range p {
		if t.at == inOrder {
			if why := t.grow(b); why != nil {
				return why
			}
			continue
		}
		if b == ' ' || b == '\t' || b == '\r' || b == '\n' {
			continue
		}
		switch {
		case t.at == beforeArray && b == '[':
			t.at = firstOrder
		case (t.at == firstOrder || t.at == afterOrder) && b == ']':
			t.at = afterArray
		case t.at == afterOrder && b == ',':
			t.at = nextOrder
		case (t.at == firstOrder || t.at == nextOrder) && b == '{':
			t.at, t.raw, t.closers = inOrder, append(t.raw[:0], b), append(t.closers[:0], '}')
		default:
			return notAnArray
		}
	}
	return nil
}

// grow adds a byte to the order that is arriving. Its last byte has it handled.
func (t *taker) grow(b byte) *refusal {
	if int64(len(t.raw)) >= 2*t.cfg.MaxOrder {
		return orderTooLarge
	}
	t.raw = append(t.raw, b)
	switch {
	case t.escaped:
		t.escaped = false
	case t.text:
		t.escaped = b == '\\'
		t.text = b != '"'
	case b == '"':
		t.text = true
	case b == '{':
		t.closers = append(t.closers, '}')
	case b == '[':
		t.closers = append(t.closers, ']')
	case b == '}' || b == ']':
		last := len(t.closers) - 1
		if t.closers[last] != b {
			return badOrder
		}
		if t.closers = t.closers[:last]; last == 0 {
			t.at = afterOrder
			return t.handle()
		}
	}
	return nil
}

func (t *taker) handle() *refusal {
	dec := json.NewDecoder(bytes.NewReader(t.raw))
	dec.DisallowUnknownFields()
	var o dispatch.Order
	if err := dec.Decode(&o); err != nil || o.ID == "" {
		return badOrder
	}
	if t.cfg.Handle(t.ctx, o) != nil {
		return noMore
	}
	t.accepted++
	return nil
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
