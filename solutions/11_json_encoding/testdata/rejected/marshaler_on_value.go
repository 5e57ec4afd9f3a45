// finding: board.receiver
//
// MarshalJSON on the value: values and pointers agree, and others have the fast path
// too. A struct that embeds a Board has the method as well, and loses its own fields.

// Package board serves what the screens in the depots show: where the couriers
// are, and what has happened to their parcels. Each screen asks once a second,
// so this is the hottest answer of dispatchd.
package board

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
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
	report := func(err error) {
		if cfg.OnError != nil {
			cfg.OnError(err)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := cfg.Board(r.Context())
		if err != nil {
			http.Error(w, "no board", http.StatusInternalServerError)
			report(err)
			return
		}
		buf := buffers.Get().(*[]byte)
		body, err := appendBoard((*buf)[:0], &b)
		defer func() {
			if cap(body) <= maxKept {
				*buf = body
				buffers.Put(buf)
			}
		}()
		if err != nil {
			http.Error(w, "no board", http.StatusInternalServerError)
			report(fmt.Errorf("%w: %w", ErrNoJSON, err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		if _, err := w.Write(body); err != nil {
			report(err)
		}
	})
}

// MarshalJSON gives other programs the same bytes as the handler's, for a value
// and for a pointer.
func (b Board) MarshalJSON() ([]byte, error) { return appendBoard(nil, &b) }

// maxKept is the capacity of the largest buffer that is kept for the next
// request.
const maxKept = 128 << 10

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func appendBoard(dst []byte, b *Board) ([]byte, error) {
	var err error
	dst = append(dst, `{"depot":`...)
	dst = appendString(dst, b.Depot)
	dst = append(dst, `,"notice":`...)
	dst = appendString(dst, b.Notice)
	dst = append(dst, `,"late":`...)
	dst = strconv.AppendInt(dst, int64(b.Late), 10)
	dst = append(dst, `,"taken":`...)
	if dst, err = appendTime(dst, b.Taken); err != nil {
		return dst, err
	}
	dst = append(dst, `,"couriers":`...)
	if dst, err = appendRows(dst, b.Couriers, appendPosition); err != nil {
		return dst, err
	}
	dst = append(dst, `,"events":`...)
	if dst, err = appendRows(dst, b.Events, appendEvent); err != nil {
		return dst, err
	}
	return append(dst, '}'), nil
}

func appendRows[T any](dst []byte, rows []T, one func([]byte, *T) ([]byte, error)) ([]byte, error) {
	if rows == nil {
		return append(dst, "null"...), nil
	}
	dst = append(dst, '[')
	for i := range rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = one(dst, &rows[i]); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func appendPosition(dst []byte, p *dispatch.Position) ([]byte, error) {
	var err error
	dst = append(dst, `{"courier":`...)
	dst = appendString(dst, p.Courier)
	dst = append(dst, `,"lat":`...)
	if dst, err = appendFloat(dst, p.Lat); err != nil {
		return dst, err
	}
	dst = append(dst, `,"lon":`...)
	if dst, err = appendFloat(dst, p.Lon); err != nil {
		return dst, err
	}
	dst = append(dst, `,"at":`...)
	if dst, err = appendTime(dst, p.At); err != nil {
		return dst, err
	}
	return append(dst, '}'), nil
}

func appendEvent(dst []byte, e *dispatch.Event) ([]byte, error) {
	var err error
	dst = append(dst, `{"id":`...)
	dst = appendString(dst, e.ID)
	dst = append(dst, `,"order":`...)
	dst = appendString(dst, e.Order)
	dst = append(dst, `,"kind":`...)
	dst = appendString(dst, e.Kind)
	dst = append(dst, `,"at":`...)
	if dst, err = appendTime(dst, e.At); err != nil {
		return dst, err
	}
	return append(dst, '}'), nil
}

// appendTime writes t as Time.MarshalJSON does, with its errors.
func appendTime(dst []byte, t time.Time) ([]byte, error) {
	dst = append(dst, '"')
	dst, err := t.AppendText(dst)
	if err != nil {
		return dst, err
	}
	return append(dst, '"'), nil
}

// appendFloat writes f as encoding/json does: as ES6, with a short exponent.
func appendFloat(dst []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, &json.UnsupportedValueError{Str: strconv.FormatFloat(f, 'g', -1, 64)}
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	if n := len(dst); format == 'e' && n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1] // e-09 is e-9
		dst = dst[:n-1]
	}
	return dst, nil
}

// appendString writes s as encoding/json does. Most strings need no escape.
func appendString(dst []byte, s string) []byte {
	if plain(s) {
		dst = append(dst, '"')
		dst = append(dst, s...)
		return append(dst, '"')
	}
	quoted, _ := json.Marshal(s) // of a string there is no error
	return append(dst, quoted...)
}

// plain reports whether s needs no escape.
func plain(s string) bool {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
				return false
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || r == '\u2028' || r == '\u2029' {
			return false
		}
		i += n
	}
	return true
}
