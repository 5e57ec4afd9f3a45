// A chain of blocks of 16 KiB from a list that keeps sixteen of them. Nothing grows, so
// nothing large is there to be kept; strings are escaped by hand.
// Package board serves what the screens in the depots show: where the couriers
// are, and what has happened to their parcels. Each screen asks once a second,
// so this is the hottest answer of dispatchd.
package board

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"pitstop/lessons/dispatch"
)

// ErrNoJSON says that a board holds a value that JSON cannot express, as a
// latitude that is not a number.
var ErrNoJSON = errors.New("board: a value has no JSON form")

// Board is the state of one depot. Other programs encode it too, as a value, as
// a pointer and inside other types: with json.Marshal it has the same bytes
// everywhere, those of its fields and tags.
type Board struct {
	Depot    string              `json:"depot"`
	Notice   string              `json:"notice"` // typed by people, shown to people
	Late     int                 `json:"late"`
	Taken    time.Time           `json:"taken"`
	Couriers []dispatch.Position `json:"couriers"`
	Events   []dispatch.Event    `json:"events"`
}

// Config is what [New] needs.
type Config struct {
	// Board gives the state to show. It may be called by several requests at
	// once, and may give the same slices each time with other values in them.
	Board func(ctx context.Context) (Board, error)

	// OnError is told, once for each request, of an error of Board, of a value
	// without a JSON form (ErrNoJSON), and of an answer that could not be
	// written. It may be nil.
	OnError func(error)
}

// New returns the handler for the board. The body is what json.Marshal gives
// for the fields of Board, byte for byte, with its Content-Length, type
// application/json and status 200. Where there is no board, or no JSON for it, the
// answer is a 500 without any part of the board.
//
// A request allocates a tenth of what json.Marshal does for the same board, at
// most, and not more bytes. Requests do not wait for each other, and what is
// kept from one for the next stays small however large a board has been.
func New(cfg Config) http.Handler {
	free := make(freeList, keptBlocks)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := serve(cfg, free, w, r); err != nil && cfg.OnError != nil {
			cfg.OnError(err)
		}
	})
}

// serve answers one request, whatever it returns.
func serve(cfg Config, free freeList, w http.ResponseWriter, r *http.Request) error {
	b, err := cfg.Board(r.Context())
	if err != nil {
		http.Error(w, "no board", http.StatusInternalServerError)
		return err
	}
	var e encoder
	e.free = free
	defer e.release()
	e.board(&b)
	if e.err != nil {
		http.Error(w, "no board", http.StatusInternalServerError)
		return fmt.Errorf("%w: %w", ErrNoJSON, e.err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(e.len()))
	for _, block := range e.full {
		if _, err := w.Write(block); err != nil {
			return err
		}
	}
	_, err = w.Write(e.last)
	return err
}

const (
	blockSize  = 16 << 10
	keptBlocks = 16 // 256 KiB in all
)

// A freeList holds blocks that nobody uses. It never waits and never grows.
type freeList chan []byte

func (f freeList) get() []byte {
	select {
	case b := <-f:
		return b
	default:
		return make([]byte, 0, blockSize)
	}
}

func (f freeList) put(b []byte) {
	if cap(b) != blockSize { // it had to grow for a long string
		return
	}
	select {
	case f <- b[:0]:
	default:
	}
}

// An encoder writes JSON to blocks. The first error stays.
type encoder struct {
	free freeList
	full [][]byte
	last []byte
	err  error
}

// room begins a new block when few bytes are left in this one.
func (e *encoder) room() {
	const few = 512 // as much as most rows need
	if cap(e.last)-len(e.last) < few {
		if e.last != nil {
			e.full = append(e.full, e.last)
		}
		e.last = e.free.get()
	}
}

func (e *encoder) release() {
	for _, b := range e.full {
		e.free.put(b)
	}
	e.free.put(e.last)
}

func (e *encoder) len() int {
	n := len(e.last)
	for _, b := range e.full {
		n += len(b)
	}
	return n
}

func (e *encoder) board(b *Board) {
	e.room()
	e.text(`{"depot":`, b.Depot)
	e.text(`,"notice":`, b.Notice)
	e.raw(`,"late":`)
	e.last = strconv.AppendInt(e.last, int64(b.Late), 10)
	e.time(`,"taken":`, b.Taken)

	e.raw(`,"couriers":`)
	open := "["
	for i := range b.Couriers {
		c := &b.Couriers[i]
		e.room()
		e.raw(open)
		e.text(`{"courier":`, c.Courier)
		e.float(`,"lat":`, c.Lat)
		e.float(`,"lon":`, c.Lon)
		e.time(`,"at":`, c.At)
		e.raw("}")
		open = ","
	}
	e.end(b.Couriers == nil, len(b.Couriers))

	e.raw(`,"events":`)
	open = "["
	for i := range b.Events {
		v := &b.Events[i]
		e.room()
		e.raw(open)
		e.text(`{"id":`, v.ID)
		e.text(`,"order":`, v.Order)
		e.text(`,"kind":`, v.Kind)
		e.time(`,"at":`, v.At)
		e.raw("}")
		open = ","
	}
	e.end(b.Events == nil, len(b.Events))
	e.raw("}")
}

// end closes an array that was opened with its first element.
func (e *encoder) end(isNil bool, n int) {
	switch {
	case isNil:
		e.raw("null")
	case n == 0:
		e.raw("[]")
	default:
		e.raw("]")
	}
}

func (e *encoder) raw(s string) { e.last = append(e.last, s...) }

func (e *encoder) time(key string, t time.Time) {
	e.raw(key)
	e.raw(`"`)
	text, err := t.AppendText(e.last)
	if err != nil {
		e.fail(err)
		return
	}
	e.last = text
	e.raw(`"`)
}

// float writes as ECMAScript does: an exponent only below 1e-6 and from 1e21.
func (e *encoder) float(key string, f float64) {
	e.raw(key)
	abs := math.Abs(f)
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		e.fail(fmt.Errorf("the number %v", f))
	case abs == 0 || abs >= 1e-6 && abs < 1e21:
		e.last = strconv.AppendFloat(e.last, f, 'f', -1, 64)
	default:
		e.last = strconv.AppendFloat(e.last, f, 'e', -1, 64)
		// Go writes 1e-07, ECMAScript 1e-7.
		if n := len(e.last); e.last[n-4] == 'e' && e.last[n-2] == '0' {
			e.last[n-2] = e.last[n-1]
			e.last = e.last[:n-1]
		}
	}
}

func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

const hex = "0123456789abcdef"

// text escapes as encoding/json does: for HTML too, and with U+FFFD for each
// byte that is not UTF-8.
func (e *encoder) text(key, s string) {
	dst := append(e.last, key...)
	dst = append(dst, '"')
	done := 0 // what is written of s
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, s[done:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\b':
				dst = append(dst, `\b`...)
			case '\f':
				dst = append(dst, `\f`...)
			case '\n':
				dst = append(dst, `\n`...)
			case '\r':
				dst = append(dst, `\r`...)
			case '\t':
				dst = append(dst, `\t`...)
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			done = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, s[done:i]...)
			dst = append(dst, `\ufffd`...)
			done = i + size
		case r == '\u2028' || r == '\u2029':
			dst = append(dst, s[done:i]...)
			dst = append(dst, '\\', 'u', '2', '0', '2', hex[r&15])
			done = i + size
		}
		i += size
	}
	dst = append(dst, s[done:]...)
	e.last = append(dst, '"')
}
