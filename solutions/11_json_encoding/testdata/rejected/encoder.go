// finding: board.allocs
//
// A pooled buffer and a json.Encoder, and the board as it is. The answer itself is no
// longer allocated; each time.Time still is, since MarshalJSON gives a slice.

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
	"strconv"
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
		buf := buffers.Get().(*bytes.Buffer)
		defer release(buf)

		buf.Reset()
		if err := json.NewEncoder(buf).Encode(&b); err != nil {
			http.Error(w, "no board", http.StatusInternalServerError)
			report(fmt.Errorf("%w: %w", ErrNoJSON, err))
			return
		}
		buf.Truncate(buf.Len() - 1) // the line end
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
		if _, err := w.Write(buf.Bytes()); err != nil {
			report(fmt.Errorf("board: write: %w", err))
		}
	})
}

// A buffer belongs to one request until its answer has been written. One that
// an unusual board has made large is left to the collector.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const keep = 256 << 10 // bytes

func release(buf *bytes.Buffer) {
	if buf.Cap() <= keep {
		buffers.Put(buf)
	}
}
