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
// a pointer and inside other types, embedded or not: with json.Marshal it has
// the same bytes everywhere, those of its fields and tags.
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
// kept from one for the next stays small however large a board has been, or how
// many at once.
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
		defer release(buf)

		*buf, err = appendBoard((*buf)[:0], &b)
		if err != nil {
			http.Error(w, "no board", http.StatusInternalServerError)
			report(fmt.Errorf("%w: %w", ErrNoJSON, err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(*buf)))
		if _, err := w.Write(*buf); err != nil {
			report(fmt.Errorf("board: write: %w", err))
		}
	})
}

// A buffer belongs to one request until its answer has been written. One that
// an unusual board has made large is left to the collector.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

const keep = 256 << 10 // bytes

func release(buf *[]byte) {
	if cap(*buf) <= keep {
		buffers.Put(buf)
	}
}

// appendBoard appends b as encoding/json writes it.
func appendBoard(dst []byte, b *Board) ([]byte, error) {
	dst = appendString(append(dst, `{"depot":`...), b.Depot)
	dst = appendString(append(dst, `,"notice":`...), b.Notice)
	dst = strconv.AppendInt(append(dst, `,"late":`...), int64(b.Late), 10)
	dst, err := appendTime(append(dst, `,"taken":`...), b.Taken)
	if err != nil {
		return dst, err
	}
	dst, err = appendSlice(append(dst, `,"couriers":`...), b.Couriers, appendPosition)
	if err != nil {
		return dst, err
	}
	dst, err = appendSlice(append(dst, `,"events":`...), b.Events, appendEvent)
	return append(dst, '}'), err
}

func appendPosition(dst []byte, p *dispatch.Position) ([]byte, error) {
	dst = appendString(append(dst, `{"courier":`...), p.Courier)
	dst, err := appendFloat(append(dst, `,"lat":`...), p.Lat)
	if err != nil {
		return dst, err
	}
	if dst, err = appendFloat(append(dst, `,"lon":`...), p.Lon); err != nil {
		return dst, err
	}
	dst, err = appendTime(append(dst, `,"at":`...), p.At)
	return append(dst, '}'), err
}

func appendEvent(dst []byte, e *dispatch.Event) ([]byte, error) {
	dst = appendString(append(dst, `{"id":`...), e.ID)
	dst = appendString(append(dst, `,"order":`...), e.Order)
	dst = appendString(append(dst, `,"kind":`...), e.Kind)
	dst, err := appendTime(append(dst, `,"at":`...), e.At)
	return append(dst, '}'), err
}

// appendSlice appends null for a nil slice, as encoding/json does.
func appendSlice[T any](dst []byte, s []T, one func([]byte, *T) ([]byte, error)) ([]byte, error) {
	if s == nil {
		return append(dst, "null"...), nil
	}
	dst = append(dst, '[')
	for i := range s {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = one(dst, &s[i]); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

// appendString copies a string that needs no escapes. What does need some is
// rare, and encoding/json knows best.
func appendString(dst []byte, s string) []byte {
	for _, r := range s {
		switch {
		case r < ' ', r == '"', r == '\\', r == '<', r == '>', r == '&',
			r == '\u2028', r == '\u2029', r == utf8.RuneError:
			quoted, _ := json.Marshal(s) // a string always has a JSON form
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// appendFloat leaves exponents, and what is not a number, to encoding/json.
func appendFloat(dst []byte, f float64) ([]byte, error) {
	if abs := math.Abs(f); f == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64), nil
	}
	b, err := json.Marshal(f)
	return append(dst, b...), err
}

// appendTime fails for a time that RFC 3339 cannot express, as json.Marshal does.
func appendTime(dst []byte, t time.Time) ([]byte, error) {
	dst, err := t.AppendText(append(dst, '"'))
	return append(dst, '"'), err
}
