// No pool: one allocation of about the right size for each answer. Strings and
// numbers are written without encoding/json, after its rules.

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

// New returns the handler for the board.
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
		body, err := appendBoard(make([]byte, 0, size(&b)), &b)
		if err != nil {
			http.Error(w, "no board", http.StatusInternalServerError)
			report(fmt.Errorf("%w: %w", ErrNoJSON, err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		if _, err := w.Write(body); err != nil {
			report(fmt.Errorf("board: write: %w", err))
		}
	})
}

// size guesses how long b is as JSON.
func size(b *Board) int {
	n := 256 + 2*(len(b.Depot)+len(b.Notice))
	for i := range b.Couriers {
		n += 100 + len(b.Couriers[i].Courier)
	}
	for i := range b.Events {
		e := &b.Events[i]
		n += 80 + len(e.ID) + len(e.Order) + len(e.Kind)
	}
	return n
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

const hex = "0123456789abcdef"

// appendString escapes what encoding/json does.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c == '\b':
				dst = append(dst, `\b`...)
			case c == '\f':
				dst = append(dst, `\f`...)
			case c == '\n':
				dst = append(dst, `\n`...)
			case c == '\r':
				dst = append(dst, `\r`...)
			case c == '\t':
				dst = append(dst, `\t`...)
			case c < ' ' || c == '<' || c == '>' || c == '&':
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				dst = append(dst, c)
			}
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(dst, `\ufffd`...)
		case r == '\u2028' || r == '\u2029':
			dst = append(dst, `\u202`...)
			dst = append(dst, hex[r&15])
		default:
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return append(dst, '"')
}

// appendFloat writes an exponent where encoding/json does, and as short.
func appendFloat(dst []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, errors.New("not a number")
	}
	if abs := math.Abs(f); f == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64), nil
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	if n := len(dst); dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst, nil
}

// appendTime fails for a time that RFC 3339 cannot express, as json.Marshal does.
func appendTime(dst []byte, t time.Time) ([]byte, error) {
	dst, err := t.AppendText(append(dst, '"'))
	return append(dst, '"'), err
}
