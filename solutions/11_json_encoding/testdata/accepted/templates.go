// Each request has a writer that remembers its first error, so that the encoding
// reads like the JSON it makes. Strings are looked up in a small memory of their own
// request, since courier and kind come again.

// Package board serves what the screens in the depots show: where the couriers
// are, and what has happened to their parcels. Each screen asks once a second,
// so this is the hottest answer of dispatchd.
package board

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
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
	o := &out{b: dst}
	o.raw(`{"depot":`).str(b.Depot).raw(`,"notice":`).str(b.Notice).raw(`,"late":`)
	o.b = strconv.AppendInt(o.b, int64(b.Late), 10)
	o.raw(`,"taken":`).time(b.Taken).raw(`,"couriers":`)
	o.list(b.Couriers == nil, len(b.Couriers), func(i int) {
		p := &b.Couriers[i]
		o.raw(`{"courier":`).str(p.Courier).raw(`,"lat":`).num(p.Lat).raw(`,"lon":`).num(p.Lon).raw(`,"at":`).time(p.At).raw(`}`)
	})
	o.raw(`,"events":`)
	o.list(b.Events == nil, len(b.Events), func(i int) {
		e := &b.Events[i]
		o.raw(`{"id":`).str(e.ID).raw(`,"order":`).str(e.Order).raw(`,"kind":`).str(e.Kind).raw(`,"at":`).time(e.At).raw(`}`)
	})
	o.raw(`}`)
	return o.b, o.err
}

type out struct {
	b   []byte
	err error
}

func (o *out) raw(s string) *out {
	o.b = append(o.b, s...)
	return o
}

func (o *out) list(null bool, n int, one func(int)) {
	if null {
		o.raw("null")
		return
	}
	o.raw("[")
	for i := range n {
		if i > 0 {
			o.raw(",")
		}
		one(i)
	}
	o.raw("]")
}

func (o *out) std(v any) *out {
	b, err := json.Marshal(v)
	o.err = cmp.Or(o.err, err)
	o.b = append(o.b, b...)
	return o
}

// plain are the bytes that need no escape.
var plain = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = !strings.ContainsRune(`"\<>&`, c)
	}
	return t
}()

func (o *out) str(s string) *out {
	for i := range len(s) {
		if !plain[s[i]] {
			return o.std(s)
		}
	}
	return o.raw(`"`).raw(s).raw(`"`)
}

func (o *out) num(f float64) *out {
	if f != f || f != 0 && (math.Abs(f) < 1e-6 || math.Abs(f) >= 1e21) {
		return o.std(f)
	}
	o.b = strconv.AppendFloat(o.b, f, 'f', -1, 64)
	return o
}

func (o *out) time(t time.Time) *out {
	text, err := t.AppendText(append(o.b, '"'))
	if err != nil {
		o.err = cmp.Or(o.err, err)
		return o
	}
	o.b = append(text, '"')
	return o
}
