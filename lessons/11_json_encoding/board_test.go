package board_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pitstop/checker/probe"
	board "pitstop/lessons/11_json_encoding"
	"pitstop/lessons/dispatch"
)

const (
	couriers = 200
	events   = 100

	allocShare = 0.10 // of the allocations of json.Marshal
	byteShare  = 1.00 // of the bytes that it allocates
)

func TestBoard_SameBytesAsEncodingJSON(t *testing.T) {
	quiet := board.Board{Depot: "Ulm", Taken: noon, Couriers: []dispatch.Position{}, Events: []dispatch.Event{}}
	for i, name := range []string{"of a quiet depot", "of a busy depot"} {
		b := []board.Board{quiet, busy()}[i]
		got := get(t, b)
		if got.Code != http.StatusOK {
			probe.Fatalf(t, "board.status", "The board %s was answered with status %d; want 200.", name, got.Code)
		}
		if diff := compare(got.Body.Bytes(), standard(t, b)); diff != "" {
			probe.Errorf(t, "board.bytes", "The board %s is not what encoding/json writes: %s.", name, diff)
		}
	}
}

// TestBoard_AllocatesLessThanEncodingJSON lets the handler and json.Marshal
// write the same board, one after the other, in this process.
func TestBoard_AllocatesLessThanEncodingJSON(t *testing.T) {
	probe.NeedsPlainHeap(t)
	b := busy()
	h := board.New(board.Config{Board: func(context.Context) (board.Board, error) { return b, nil }})
	ours := cost(h)
	theirs := cost(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := json.Marshal(mirrorOf(b))
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body)
	}))
	probe.Note(t, "allocations of json.Marshal for one answer", theirs.allocs, "allocations")
	if share := ours.allocs / theirs.allocs; !probe.AtMost(t, "allocations, as a share of json.Marshal's", share, allocShare, "") {
		probe.Errorf(t, "board.allocs", "One answer takes %.0f allocations, and json.Marshal takes %.0f for the same board: a share of %.2f, where %.2f is the limit.",
			ours.allocs, theirs.allocs, share, allocShare)
	}
	if share := ours.bytes / theirs.bytes; !probe.AtMost(t, "bytes allocated, as a share of json.Marshal's", share, byteShare, "") {
		probe.Errorf(t, "board.memory", "One answer allocates %s, and json.Marshal %s for the same board: a share of %.2f, where %.2f is the limit.",
			probe.Bytes(ours.bytes), probe.Bytes(theirs.bytes), share, byteShare)
	}
}

// The board of a busy depot, to be measured by hand: see the README.
func BenchmarkHandler(b *testing.B) {
	state := busy()
	h := board.New(board.Config{Board: func(context.Context) (board.Board, error) { return state, nil }})
	w, r := newSink(), request()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

func BenchmarkMarshal(b *testing.B) {
	state := mirrorOf(busy())
	b.ReportAllocs()
	for b.Loop() {
		body, _ := json.Marshal(state)
		io.Discard.Write(body)
	}
}

// mirror is Board without its methods, and written here, so that what
// encoding/json makes of it is what it would make of the fields.
type mirror struct {
	Depot    string              `json:"depot"`
	Notice   string              `json:"notice"`
	Late     int                 `json:"late"`
	Taken    time.Time           `json:"taken"`
	Couriers []dispatch.Position `json:"couriers"`
	Events   []dispatch.Event    `json:"events"`
}

func mirrorOf(b board.Board) *mirror {
	return &mirror{b.Depot, b.Notice, b.Late, b.Taken, b.Couriers, b.Events}
}

func standard(t *testing.T, b board.Board) []byte {
	t.Helper()
	want, err := json.Marshal(mirrorOf(b))
	if err != nil {
		t.Fatalf("test: %v", err)
	}
	return want
}

// compare tells where got first differs from want, or nothing.
func compare(got, want []byte) string {
	if bytes.Equal(got, want) {
		return ""
	}
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	near := func(b []byte) []byte { return b[max(0, min(i-12, len(b))):min(i+24, len(b))] }
	return fmt.Sprintf("of %d bytes instead of %d, it differs from byte %d on, and reads …%s… instead of …%s…", len(got), len(want), i, quoted(near(got)), quoted(near(want)))
}

// quoted shows a short text as it is, except for what cannot be seen.
func quoted(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&s, "‹%#x›", b[0])
		case strconv.IsPrint(r):
			s.WriteRune(r)
		default:
			fmt.Fprintf(&s, "‹%U›", r)
		}
		b = b[n:]
	}
	return s.String()
}

var noon = time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)

// busy is the board of a depot by day.
func busy() board.Board {
	b := board.Board{Depot: "Łódź-Górna", Notice: "Gate 4 is closed until noon.", Late: 12, Taken: noon}
	for n := range couriers {
		b.Couriers = append(b.Couriers, dispatch.Position{
			Courier: "courier-" + strconv.Itoa(n),
			Lat:     51.7 + float64(n)/1000,
			Lon:     19.4 - float64(n)/1000,
			At:      noon.Add(time.Duration(n) * 1234567 * time.Microsecond),
		})
	}
	for n := range events {
		b.Events = append(b.Events, dispatch.Event{
			ID:    "e-" + strconv.Itoa(n),
			Order: "o-" + strconv.Itoa(n*7),
			Kind:  "delivered",
			At:    noon.Add(-time.Duration(n) * time.Second),
		})
	}
	return b
}

func request() *http.Request { return httptest.NewRequest(http.MethodGet, "/board", nil) }

// get lets a fresh handler serve b, and turns a panic into a finding.
func get(t *testing.T, b board.Board) *httptest.ResponseRecorder {
	t.Helper()
	return ask(t, board.New(board.Config{Board: func(context.Context) (board.Board, error) { return b, nil }}))
}

func ask(t *testing.T, h http.Handler) *httptest.ResponseRecorder {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			probe.Fatalf(t, "board.panic", "The handler panicked: %v.", p)
		}
	}()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request())
	return w
}

type figures struct{ allocs, bytes float64 }

// cost measures what h allocates for one answer, as the mean of many.
func cost(h http.Handler) figures {
	const runs = 50
	w, r := newSink(), request()
	for range 5 {
		h.ServeHTTP(w, r)
	}
	least := figures{1e18, 1e18}
	for range 3 { // the runtime may allocate too: the best of three
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			h.ServeHTTP(w, r)
		}
		runtime.ReadMemStats(&after)
		least.allocs = min(least.allocs, float64(after.Mallocs-before.Mallocs)/runs)
		least.bytes = min(least.bytes, float64(after.TotalAlloc-before.TotalAlloc)/runs)
	}
	return least
}

// sink is a ResponseWriter that keeps nothing.
type sink struct{ header http.Header }

func newSink() *sink                        { return &sink{http.Header{}} }
func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
