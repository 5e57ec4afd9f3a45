// Design: pull style, bufio.Scanner with a SplitFunc and an iter.Seq2 of orders; a goroutine reads on request, and a timer (not a deadline) watches it.

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
	"iter"
	"math"
	"mime"
	"net/http"
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
	errSilent    = errors.New("nothing arrived for too long")
	errMalformed = errors.New("not a JSON array of orders, each with an id")
)

// take answers one request.
func take(cfg Config, w http.ResponseWriter, r *http.Request) {
	status, n, message := process(cfg, w, r)
	if status != http.StatusOK {
		hangUp(w)
		// Bounds what net/http reads of the rest, after the answer.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(cfg.IdleTimeout))
	}
	answer(w, status, n, message)
}

func process(cfg Config, w http.ResponseWriter, r *http.Request) (status, accepted int, message string) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if errors.Is(err, mime.ErrInvalidMediaParameter) {
		err = nil
	}
	if err != nil || media != "application/json" {
		return http.StatusUnsupportedMediaType, 0, "not application/json"
	}
	if r.ContentLength > cfg.MaxBody {
		return http.StatusRequestEntityTooLarge, 0, "body too large"
	}

	body := watch(http.MaxBytesReader(w, r.Body, cfg.MaxBody), cfg.IdleTimeout, func() {
		_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
	})
	defer body.stop()
	for o, err := range orders(body, cfg.MaxOrder) {
		if err != nil {
			status, message = explain(err)
			return status, accepted, message
		}
		if cfg.Handle(r.Context(), o) != nil {
			return http.StatusServiceUnavailable, accepted, "no more orders for now"
		}
		accepted++
	}
	return http.StatusOK, accepted, ""
}

// explain is for errors of the body only.
func explain(err error) (status int, message string) {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge, "body too large"
	}
	switch {
	case errors.Is(err, bufio.ErrTooLong):
		return http.StatusRequestEntityTooLarge, "order too large"
	case errors.Is(err, errSilent):
		return http.StatusRequestTimeout, errSilent.Error()
	}
	return http.StatusBadRequest, errMalformed.Error()
}

// orders gives the orders of a JSON array, each as soon as its last byte has
// come. An error is the last thing that it gives.
func orders(r io.Reader, maxOrder int64) iter.Seq2[dispatch.Order, error] {
	return func(yield func(dispatch.Order, error) bool) {
		s := bufio.NewScanner(r)
		s.Buffer(nil, int(min(maxOrder, math.MaxInt-1))+1)
		s.Split(split)

		// What may come next. An order is '{'.
		next := "["
		for s.Scan() {
			token := s.Bytes()
			if !strings.ContainsRune(next, rune(token[0])) {
				yield(dispatch.Order{}, errMalformed)
				return
			}
			switch token[0] {
			case '[':
				next = "{]"
			case ',':
				next = "{"
			case ']':
				next = ""
			case '{':
				o, err := parse(token)
				if !yield(o, err) || err != nil {
					return
				}
				next = ",]"
			}
		}
		switch {
		case s.Err() != nil:
			yield(dispatch.Order{}, s.Err())
		case next != "":
			yield(dispatch.Order{}, errMalformed)
		}
	}
}

func parse(raw []byte) (o dispatch.Order, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o); err != nil || o.ID == "" {
		return dispatch.Order{}, errMalformed
	}
	return o, nil
}

// split is a bufio.SplitFunc. A token is a whole object, or any other byte
// that is not blank. Blanks are skipped.
func split(data []byte, atEOF bool) (advance int, token []byte, err error) {
	rest := bytes.TrimLeft(data, " \t\r\n")
	start := len(data) - len(rest)
	if len(rest) == 0 {
		return start, nil, nil
	}
	n := 1
	if rest[0] == '{' {
		n, err = objectLen(rest)
	}
	switch {
	case err != nil:
		return start, nil, err
	case n > 0:
		return start + n, rest[:n], nil
	case atEOF:
		return start, nil, errMalformed
	}
	return start, nil, nil
}

// objectLen returns how long the object is that b begins with, or 0 if it is
// not complete. What is between its brackets is left to encoding/json.
func objectLen(b []byte) (int, error) {
	var open []byte
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			open = append(open, b[i]+2) // the bracket that closes it, in ASCII
		case '}', ']':
			last := len(open) - 1
			if open[last] != b[i] {
				return 0, errMalformed
			}
			if last == 0 {
				return i + 1, nil
			}
			open = open[:last]
		}
	}
	return 0, nil
}

// watched reads in a goroutine, when it is asked to and at no other time, so
// that nobody is timed while Handle works. No deadline is set but to end it.
type watched struct {
	idle      time.Duration
	interrupt func()
	timer     *time.Timer
	ask       chan []byte
	result    chan readResult
	err       error
}

type readResult struct {
	n   int
	err error
}

func watch(src io.Reader, idle time.Duration, interrupt func()) *watched {
	w := &watched{
		idle: idle, interrupt: interrupt, timer: time.NewTimer(idle),
		ask: make(chan []byte), result: make(chan readResult),
	}
	go func() {
		defer close(w.result)
		for p := range w.ask {
			n, err := src.Read(p)
			w.result <- readResult{n, err}
		}
	}()
	return w
}

func (w *watched) Read(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	w.timer.Reset(w.idle)
	w.ask <- p
	select {
	case r := <-w.result:
		w.err = r.err
		return r.n, r.err
	case <-w.timer.C:
		w.interrupt()
		r := <-w.result
		w.err = errSilent
		return r.n, w.err
	}
}

// stop ends the goroutine, and waits for it.
func (w *watched) stop() {
	w.timer.Stop()
	close(w.ask)
	<-w.result
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
