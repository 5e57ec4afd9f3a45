// Package board serves what the screens in the depots show: where the couriers
// are, and what has happened to their parcels. Each screen asks once a second,
// so this is the hottest answer of dispatchd.
package board

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

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
	fail := func(w http.ResponseWriter, err error) {
		http.Error(w, "no board", http.StatusInternalServerError)
		if cfg.OnError != nil {
			cfg.OnError(err)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := cfg.Board(r.Context())
		if err != nil {
			fail(w, err)
			return
		}
		body, err := json.Marshal(&b)
		if err != nil {
			fail(w, errors.Join(ErrNoJSON, err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		if _, err := w.Write(body); err != nil && cfg.OnError != nil {
			cfg.OnError(err)
		}
	})
}

// MarshalJSON is written by hand: reflection is too slow for the hot path. The
// result is the same.
func (b *Board) MarshalJSON() ([]byte, error) {
	var s strings.Builder
	s.WriteString(`{"depot":"`)
	s.WriteString(b.Depot)
	s.WriteString(`","notice":"`)
	s.WriteString(b.Notice)
	s.WriteString(`","late":`)
	s.WriteString(strconv.Itoa(b.Late))
	s.WriteString(`,"taken":"`)
	s.WriteString(b.Taken.Format(time.RFC3339Nano))
	s.WriteString(`","couriers":[`)
	for i, c := range b.Couriers {
		if i > 0 {
			s.WriteByte(',')
		}
		one, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		s.Write(one)
	}
	s.WriteString(`],"events":[`)
	for i, e := range b.Events {
		if i > 0 {
			s.WriteByte(',')
		}
		one, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		s.Write(one)
	}
	s.WriteString(`]}`)
	return []byte(s.String()), nil
}
