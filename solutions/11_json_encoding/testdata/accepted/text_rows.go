// encoding/json does the work, on rows of its own whose times are text already: all
// times of a board are written into one buffer, which becomes one string. Rows and
// buffers come out of a pool.

// Package board serves what the screens in the depots show: where the couriers
// are, and what has happened to their parcels. Each screen asks once a second,
// so this is the hottest answer of dispatchd.
package board

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

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
		s := scratches.Get().(*scratch)
		defer s.release()

		body, err := s.encode(&b)
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

type position struct {
	Courier string  `json:"courier"`
	Lat     float64 `json:"lat"`
	Lon     float64 `json:"lon"`
	At      string  `json:"at"`
}

type event struct {
	ID    string `json:"id"`
	Order string `json:"order"`
	Kind  string `json:"kind"`
	At    string `json:"at"`
}

type rows struct {
	Depot    string     `json:"depot"`
	Notice   string     `json:"notice"`
	Late     int        `json:"late"`
	Taken    string     `json:"taken"`
	Couriers []position `json:"couriers"`
	Events   []event    `json:"events"`
}

// scratch is what one request works with.
type scratch struct {
	out   bytes.Buffer
	times []byte
	rows  rows
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (s *scratch) release() {
	if s.out.Cap() > 256<<10 {
		return
	}
	clear(s.rows.Couriers) // the strings are the board's
	clear(s.rows.Events)
	scratches.Put(s)
}

func (s *scratch) encode(b *Board) ([]byte, error) {
	s.times = s.times[:0]
	var err error
	stamp := func(t time.Time) {
		if err == nil {
			s.times, err = t.AppendText(s.times)
			s.times = append(s.times, ' ')
		}
	}
	stamp(b.Taken)
	for i := range b.Couriers {
		stamp(b.Couriers[i].At)
	}
	for i := range b.Events {
		stamp(b.Events[i].At)
	}
	if err != nil {
		s.times = nil
		return nil, err
	}
	rest := string(s.times)
	next := func() (at string) {
		at, rest, _ = strings.Cut(rest, " ")
		return at
	}
	couriers, events := s.rows.Couriers[:0], s.rows.Events[:0]
	s.rows = rows{Depot: b.Depot, Notice: b.Notice, Late: b.Late, Taken: next()}
	for _, c := range b.Couriers {
		couriers = append(couriers, position{c.Courier, c.Lat, c.Lon, next()})
	}
	for _, e := range b.Events {
		events = append(events, event{e.ID, e.Order, e.Kind, next()})
	}
	view := rows{Depot: b.Depot, Notice: b.Notice, Late: b.Late, Taken: s.rows.Taken}
	if b.Couriers != nil {
		view.Couriers = slices.Grow(couriers, 1)[:len(couriers)]
	}
	if b.Events != nil {
		view.Events = slices.Grow(events, 1)[:len(events)]
	}
	s.rows.Couriers, s.rows.Events = couriers, events

	s.out.Reset()
	if err := json.NewEncoder(&s.out).Encode(&view); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(s.out.Bytes(), []byte("\n")), nil
}
