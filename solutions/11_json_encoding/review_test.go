//go:build review

package board_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pitstop/checker/probe"
	board "pitstop/lessons/11_json_encoding"
	"pitstop/lessons/dispatch"
)

// Strings that a person, a scanner or an attacker may send.
var nasty = []struct{ name, text string }{
	{"empty", ""},
	{"a quote", `Gate "4"`},
	{"a field of its own", `closed","late":0,"notice":"`},
	{"a backslash", `C:\temp\`},
	{"a slash", "a/b </script>"},
	{"HTML", `<b>Müller & Söhne</b> '`},
	{"line ends and tabs", "a\nb\r\nc\td"},
	{"backspace and form feed", "a\bb\fc\vd\ae"},
	{"NUL and escape", "\x00\x1b[31m\x1f"},
	{"delete", "a\x7fb"},
	{"C1 controls", "a\u0080\u0085\u009fb"},
	{"U+2028 and U+2029", "a\u2028b\u2029c\u2027\u202a"},
	{"a byte order mark", "\ufeffUlm"},
	{"the replacement character", "a\ufffdb"},
	{"no character", "a\uffff\ufffeb"},
	{"emoji", "🚚👩‍🔧 \U0010ffff"},
	{"a lone continuation byte", "a\x80b\xbf"},
	{"a letter cut off", "Łód\xc5"},
	{"four bytes cut off", "\xf0\x9f\x9a"},
	{"an overlong slash", "\xc0\xaf"},
	{"half a surrogate pair", "\xed\xa0\x80"},
	{"past the last character", "\xf4\x90\x80\x80"},
	{"Latin-1", "M\xfcller & S\xf6hne"},
	{"a quote behind a broken letter", "\xc5\"x"},
	{"a long one", strings.Repeat("Straße der Einheit 12, ", 500) + "\n"},
}

func TestReview_Strings(t *testing.T) {
	wrong := 0
	for _, s := range nasty {
		for where, b := range sorted(map[string]board.Board{
			"depot":   {Depot: s.text},
			"notice":  {Notice: s.text},
			"courier": {Couriers: []dispatch.Position{{Courier: s.text, Lat: 51.7, Lon: 19.4}, {Courier: s.text, Lat: 51.7, Lon: 19.4}}},
			"event":   {Events: []dispatch.Event{{ID: s.text, Order: "x" + s.text, Kind: s.text + "x"}}},
		}) {
			b = filled(b)
			got := get(t, b)
			if diff := compare(got.Body.Bytes(), standard(t, b)); diff != "" {
				if wrong++; wrong <= 3 {
					probe.Errorf(t, "board.escape", "A board with %[2]s as its %[1]s is not what encoding/json writes: %[3]s.", where, s.name, diff)
				}
			}
		}
	}
	for c := range 0x3000 {
		b := filled(board.Board{Notice: "a" + string(rune(c)) + "b"})
		if diff := compare(get(t, b).Body.Bytes(), standard(t, b)); diff != "" {
			if wrong++; wrong <= 3 {
				probe.Errorf(t, "board.escape", "A notice with U+%04X is not what encoding/json writes: %s.", c, diff)
			}
		}
	}
	probe.Equal(t, "strings that differ from encoding/json", wrong, 0, "strings")
}

// filled gives a board slices that are not nil.
func filled(b board.Board) board.Board {
	if b.Couriers == nil {
		b.Couriers = []dispatch.Position{}
	}
	if b.Events == nil {
		b.Events = []dispatch.Event{}
	}
	return b
}

// sorted gives the cases of a table in the order of their names.
func sorted[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

func TestReview_Numbers(t *testing.T) {
	floats := []float64{
		0, math.Copysign(0, -1), 1, -1, 0.1, 1.0 / 3, 51.759249, -0.000001, 0.000001, 0.00000099, 1e-7, -1.5e-9, 1e-10, 123e-12,
		1e20, 123456789012345680000, 999999999999999868928, 1e21, -1e21, 1.5e22, 1e100, 5e-324, math.MaxFloat64, 1 << 53, 1<<53 + 2, 100, 1e6, 12345678,
	}
	wrong := 0
	for _, f := range floats {
		b := filled(board.Board{Couriers: []dispatch.Position{{Lat: f, Lon: -f}}})
		if diff := compare(get(t, b).Body.Bytes(), standard(t, b)); diff != "" {
			if wrong++; wrong <= 3 {
				probe.Errorf(t, "board.number", "The latitude %v is not what encoding/json writes: %s.", f, diff)
			}
		}
	}
	for _, n := range []int{0, -1, 10, math.MaxInt32 + 1, math.MaxInt, math.MinInt} {
		b := filled(board.Board{Late: n})
		if diff := compare(get(t, b).Body.Bytes(), standard(t, b)); diff != "" {
			probe.Errorf(t, "board.number", "The figure %d is not what encoding/json writes: %s.", n, diff)
		}
	}
}

func TestReview_Times(t *testing.T) {
	berlin := time.FixedZone("CET", 3600)
	for _, at := range []time.Time{
		{},
		noon,
		noon.In(berlin),
		noon.Add(time.Nanosecond),
		noon.Add(120 * time.Millisecond).In(time.FixedZone("", -(3*3600 + 1800))),
		noon.Add(999999999 * time.Nanosecond),
		noon.In(time.FixedZone("odd", 3601)),
		noon.In(time.FixedZone("", 0)),
		noon.In(time.FixedZone("", 23*3600)),
		time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
		time.Date(2026, 3, 9, 12, 0, 0, 500, time.Local),
	} {
		b := board.Board{Taken: at, Couriers: []dispatch.Position{{At: at}}, Events: []dispatch.Event{{At: at}}}
		if diff := compare(get(t, b).Body.Bytes(), standard(t, b)); diff != "" {
			probe.Errorf(t, "board.time", "The time %v is not what encoding/json writes: %s.", at, diff)
			return
		}
	}
}

func TestReview_NilAndEmptySlices(t *testing.T) {
	for name, b := range sorted(map[string]board.Board{
		"nil slices":              {},
		"empty slices":            {Couriers: []dispatch.Position{}, Events: []dispatch.Event{}},
		"nil events":              {Couriers: []dispatch.Position{{}}},
		"a slice of zero from it": {Couriers: make([]dispatch.Position, 3)[:0], Events: make([]dispatch.Event, 1)},
	}) {
		if diff := compare(get(t, b).Body.Bytes(), standard(t, b)); diff != "" {
			probe.Errorf(t, "board.null", "A board with %s is not what encoding/json writes: %s.", name, diff)
		}
	}
}

// Elsewhere boards go through json.Marshal.
func TestReview_ValuesAndPointers(t *testing.T) {
	b := busy()
	b.Notice, b.Late = `Gate "4","late":0 <b>`, 3
	for name, state := range sorted(map[string]board.Board{"a busy one": b, "an empty one": {}}) {
		want := string(standard(t, state))
		type holder struct{ B any }
		type versioned struct {
			board.Board
			Version int
		}
		plus := strings.TrimSuffix(want, "}") + `,"Version":2}`
		for _, c := range []struct {
			name string
			v    any
			want string
		}{
			{"a value", state, want},
			{"a pointer", &state, want},
			{"a value in a struct", struct{ B any }{state}, `{"B":` + want + `}`},
			{"a pointer in a struct", &holder{&state}, `{"B":` + want + `}`},
			{"a slice of values", slicesOf(state), `[` + want + `]`},
			{"a map of values", map[string]any{"x": state}, `{"x":` + want + `}`},
			{"a nil pointer", nilOf(state), `null`},
			{"a struct with a Version that embeds a value", versioned{state, 2}, plus},
			{"a pointer to a struct with a Version that embeds a value", &versioned{state, 2}, plus},
		} {
			got, err := marshal(c.v)
			if err != nil {
				probe.Errorf(t, "board.receiver", "json.Marshal of %s of a Board, %s, fails: %v.", c.name, name, err)
			} else if diff := compare(got, []byte(c.want)); diff != "" {
				probe.Errorf(t, "board.receiver", "json.Marshal of %s of a Board, %s, is not what its fields give: %s.", c.name, name, diff)
			}
		}
	}
	for _, v := range []any{board.Board{Couriers: []dispatch.Position{{Lat: math.NaN()}}}, &board.Board{Couriers: []dispatch.Position{{Lat: math.NaN()}}}} {
		if got, err := marshal(v); err == nil {
			probe.Errorf(t, "board.unsupported", "json.Marshal of a %T with a latitude of NaN gives no error and %d bytes; encoding/json refuses it.", v, len(got))
		}
	}
}

func slicesOf[T any](v T) []T { return []T{v} }
func nilOf[T any](T) *T       { return nil }

func marshal(v any) (b []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return json.Marshal(v)
}

// What has no JSON form gives an error before anything is sent.
func TestReview_NoJSON(t *testing.T) {
	whole := get(t, busy()).Body.Bytes()
	for name, spoil := range sorted(map[string]func(b *board.Board){
		"a latitude that is not a number":         func(b *board.Board) { b.Couriers[0].Lat = math.NaN() },
		"an infinite longitude in the last place": func(b *board.Board) { b.Couriers[couriers-1].Lon = math.Inf(-1) },
		"a time in the year 10000":                func(b *board.Board) { b.Taken = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"a courier seen in the year -1":           func(b *board.Board) { b.Couriers[3].At = time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC) },
		"an event 25 hours east of Greenwich":     func(b *board.Board) { b.Events[events-1].At = noon.In(time.FixedZone("", 25*3600)) },
	}) {

		state := busy()
		spoil(&state)
		if _, err := json.Marshal(mirrorOf(state)); err == nil {
			t.Fatalf("test: encoding/json takes %s", name)
		}
		var told []error
		w := ask(t, board.New(board.Config{
			Board:   func(context.Context) (board.Board, error) { return state, nil },
			OnError: func(err error) { told = append(told, err) },
		}))
		checkFailure(t, w, "A board with "+name)
		if len(told) != 1 || !errors.Is(told[0], board.ErrNoJSON) {
			probe.Errorf(t, "board.error", "A board with %s: OnError was told %q; want one error that is ErrNoJSON.", name, told)
		}
		ask(t, board.New(board.Config{Board: func(context.Context) (board.Board, error) { return state, nil }})) // no OnError

		// The next answer is whole again.
		if got := get(t, busy()); got.Code != http.StatusOK || compare(got.Body.Bytes(), whole) != "" {
			probe.Errorf(t, "board.shared", "After %s, a good board is answered with status %d and %d bytes; before it was 200 and %d bytes.", name, got.Code, got.Body.Len(), len(whole))
		}
	}

	broken := errors.New("no connection to 10.0.0.7")
	var told []error
	w := ask(t, board.New(board.Config{
		Board:   func(context.Context) (board.Board, error) { return busy(), broken },
		OnError: func(err error) { told = append(told, err) },
	}))
	checkFailure(t, w, "An error of Board")
	if len(told) != 1 || !errors.Is(told[0], broken) || errors.Is(told[0], board.ErrNoJSON) {
		probe.Errorf(t, "board.error", "Board failed, and OnError was told %q; want that error, once.", told)
	}
}

func checkFailure(t *testing.T, w *httptest.ResponseRecorder, what string) {
	t.Helper()
	body := w.Body.String()
	switch {
	case w.Code != http.StatusInternalServerError && json.Valid(w.Body.Bytes()):
		probe.Errorf(t, "board.unsupported", "%s was answered with status %d and %d bytes of JSON; encoding/json refuses it: want 500.", what, w.Code, len(body))
	case w.Code != http.StatusInternalServerError:
		probe.Errorf(t, "board.half", "%s was answered with status %d and %d bytes that are no JSON; want 500.", what, w.Code, len(body))
	case strings.Contains(body, "courier") || strings.Contains(body, "depot"):
		probe.Errorf(t, "board.half", "%s was answered with 500 and a part of the board: %d bytes, beginning with %.40q.", what, len(body), body)
	}
	if length := w.Header().Get("Content-Length"); length != "" && length != strconv.Itoa(len(body)) {
		probe.Errorf(t, "board.length", "%s was answered with Content-Length %s and a body of %d bytes.", what, length, len(body))
	}
}

func TestReview_Headers(t *testing.T) {
	for _, b := range []board.Board{{}, busy(), {Notice: nasty[5].text}} {
		w := get(t, b)
		if got, want := w.Header().Get("Content-Length"), strconv.Itoa(w.Body.Len()); got != want {
			probe.Errorf(t, "board.length", "The answer has %s bytes and the Content-Length %q.", want, got)
		}
		if kind, _, _ := mime.ParseMediaType(w.Header().Get("Content-Type")); kind != "application/json" {
			probe.Errorf(t, "board.status", "The answer has the content type %q; want application/json.", w.Header().Get("Content-Type"))
		}
	}
}

// A screen that has gone takes nothing of what is written to it.
func TestReview_WriteErrorsAreTold(t *testing.T) {
	gone := errors.New("broken pipe")
	var told []error
	h := board.New(board.Config{
		Board:   func(context.Context) (board.Board, error) { return busy(), nil },
		OnError: func(err error) { told = append(told, err) },
	})
	h.ServeHTTP(&writer{sink: newSink(), write: func([]byte) (int, error) { return 0, gone }}, request())
	if len(told) != 1 || !errors.Is(told[0], gone) || errors.Is(told[0], board.ErrNoJSON) {
		probe.Errorf(t, "board.write_error", "An answer could not be written, and OnError was told %q; want the error of Write, once.", told)
	}
}

// While one answer is being written, to a slow screen, others are made: by the
// same handler and by another one. One processor, so that a buffer that was
// given back too early is the next one to be taken.
func TestReview_RequestsAreIndependent(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var states []board.Board
	var alone [][]byte
	for n := range 12 {
		b := busy()
		b.Depot = "depot " + strconv.Itoa(n)
		b.Couriers = b.Couriers[n*5:]
		states = append(states, b)
		alone = append(alone, get(t, b).Body.Bytes())
	}
	for handlers, name := range []string{"the same handler", "another handler"} {
		turn := 0
		source := func(context.Context) (board.Board, error) {
			turn++
			return states[turn-1], nil
		}
		hs := []http.Handler{board.New(board.Config{Board: source}), board.New(board.Config{Board: source})}[:handlers+1]
		bodies := make([][]byte, len(states))
		waited := false

		// Each answer, when it is about to be written, lets the next one be
		// made from beginning to end.
		var serve func(n int) (done chan any)
		serve = func(n int) chan any {
			done := make(chan any, 1)
			first := true
			w := &writer{sink: newSink()}
			w.write = func(p []byte) (int, error) {
				if first && n+1 < len(states) && !waited {
					first = false
					select {
					case p := <-serve(n + 1):
						if p != nil {
							panic(p)
						}
					case <-time.After(2 * time.Second):
						waited = true
					}
				}
				bodies[n] = append(bodies[n], p...)
				return len(p), nil
			}
			go func() {
				defer func() { done <- recover() }()
				hs[n%len(hs)].ServeHTTP(w, request())
			}()
			return done
		}
		if p := <-serve(0); p != nil {
			probe.Fatalf(t, "board.panic", "The handler panicked: %v.", p)
		}
		if waited {
			probe.Fatalf(t, "board.serial", "While one screen was slow to take its answer, another by %s was not made within 2 s.", name)
		}
		spoiled := 0
		for n, body := range bodies {
			if compare(body, alone[n]) != "" {
				spoiled++
			}
		}
		if !probe.Equal(t, "answers spoiled by "+name, spoiled, 0, "answers") {
			probe.Errorf(t, "board.shared", "%d of %d answers were spoiled by one that %s made while they were being written.", spoiled, len(states), name)
		}
	}
}

// The source gives the same slices again, with other values in them.
func TestReview_AnswersAreFresh(t *testing.T) {
	state := busy()
	h := board.New(board.Config{Board: func(context.Context) (board.Board, error) { return state, nil }})
	ask(t, h)
	state.Couriers[0].Lat = 12.5
	state.Events[events-1].Kind = "returned"
	if got := ask(t, h).Body.String(); !strings.Contains(got, `"lat":12.5`) || !strings.Contains(got, "returned") {
		probe.Errorf(t, "board.stale", "A courier moved and a parcel was returned, and the next answer says neither: it is the one before.")
	}
	state.Taken = state.Taken.Add(time.Second)
	state.Couriers = state.Couriers[:1]
	if n := strings.Count(ask(t, h).Body.String(), `"courier":`); n != 1 {
		probe.Errorf(t, "board.stale", "All couriers but one went home, and the next answer has %d.", n)
	}
}

// A board 256 times as large as on a busy day comes four times, with couriers
// whose names need escapes. Then eight slow screens hold large boards at once.
// Small boards come after.
func TestReview_LargeBoardsAreLetGo(t *testing.T) {
	probe.NeedsPlainHeap(t)
	const limit = 1 << 20
	small, large := busy(), busy()
	large.Couriers = slices.Repeat(large.Couriers, 256)
	for i := range large.Couriers {
		large.Couriers[i].Courier = "Müller & Söhne " + strconv.Itoa(i)
	}
	middle := large
	middle.Couriers = large.Couriers[:5000]
	now := &small
	h := board.New(board.Config{Board: func(context.Context) (board.Board, error) { return *now, nil }})
	live := func() uint64 {
		var m runtime.MemStats
		for range 3 { // what a sync.Pool has goes with the second collection
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	serve := func() { h.ServeHTTP(newSink(), request()) }
	serve()
	before := live()
	now = &large
	for range 4 {
		serve()
	}
	now = &middle
	serveSlowly(t, h, 8)
	now = &small
	for range 40 {
		serve()
	}
	after := live()
	if kept := after - min(before, after); !probe.AtMost(t, "bytes kept after large boards", kept, limit, "B") {
		probe.Errorf(t, "board.hoard", "After a board of %d couriers, 8 slow screens with one of %d, and 40 small ones, the package keeps %s; at most %s may stay.",
			len(large.Couriers), len(middle.Couriers), probe.Bytes(kept), probe.Bytes(limit))
	}

	ours := cost(h)
	theirs := cost(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := json.Marshal(mirrorOf(small))
		w.Write(body)
	}))
	if share := ours.bytes / theirs.bytes; !probe.AtMost(t, "bytes allocated after large boards, as a share of json.Marshal's", share, byteShare, "") {
		probe.Errorf(t, "board.memory", "After a board of %d couriers, each answer with %d allocates %s, and json.Marshal %s: a share of %.2f, where %.2f is the limit.",
			len(large.Couriers), couriers, probe.Bytes(ours.bytes), probe.Bytes(theirs.bytes), share, byteShare)
	}
	runtime.KeepAlive(h)
}

// serveSlowly lets n screens hold an answer until all of them have one.
func serveSlowly(t *testing.T, h http.Handler, n int) {
	t.Helper()
	ctx, all := context.WithTimeout(t.Context(), 3*time.Second)
	defer all()
	var begun atomic.Int64
	var served sync.WaitGroup
	panics := make(chan any, n)
	for range n {
		served.Go(func() {
			defer func() { panics <- recover() }()
			begin := sync.OnceFunc(func() {
				if begun.Add(1) == int64(n) {
					all()
				}
				<-ctx.Done()
			})
			h.ServeHTTP(&writer{sink: newSink(), write: func(p []byte) (int, error) { begin(); return len(p), nil }}, request())
		})
	}
	served.Wait()
	for range n {
		if p := <-panics; p != nil {
			probe.Fatalf(t, "board.panic", "The handler panicked: %v.", p)
		}
	}
}

// Boards of chance, the same ones each time.
func TestReview_LikeEncodingJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(2026, 3))
	const boards = 1500
	wrong := 0
	for n := range boards {
		b := board.Board{Depot: text(r), Notice: text(r), Late: int(r.Int64()) >> r.IntN(64), Taken: moment(r)}
		for range r.IntN(4) {
			b.Couriers = append(b.Couriers, dispatch.Position{Courier: text(r), Lat: number(r), Lon: number(r), At: moment(r)})
		}
		for range r.IntN(4) {
			b.Events = append(b.Events, dispatch.Event{ID: text(r), Order: text(r), Kind: text(r), At: moment(r)})
		}
		want, err := json.Marshal(mirrorOf(b))
		got := get(t, b)
		switch {
		case err != nil && got.Code != http.StatusInternalServerError:
			if wrong++; wrong <= 3 {
				probe.Errorf(t, "board.unsupported", "Of %d boards made by chance, number %d has no JSON form (%v), and the answer has status %d.", boards, n, err, got.Code)
			}
		case err == nil && compare(got.Body.Bytes(), want) != "":
			if wrong++; wrong <= 3 {
				probe.Errorf(t, "board.differs", "Of %d boards made by chance, number %d is not what encoding/json writes: %s.", boards, n, compare(got.Body.Bytes(), want))
			}
		}
	}
	probe.Equal(t, "boards made by chance that differ", wrong, 0, "boards")
}

func text(r *rand.Rand) string {
	var b []byte
	for range r.IntN(12) {
		switch r.IntN(5) {
		case 0:
			b = append(b, byte(r.IntN(256)))
		case 1:
			b = append(b, nasty[r.IntN(len(nasty)-1)].text...)
		case 2:
			b = append(b, string(rune(r.IntN(0x11000)))...)
		default:
			b = append(b, byte(' '+r.IntN(95)))
		}
	}
	return string(b)
}

func number(r *rand.Rand) float64 {
	switch r.IntN(3) {
	case 0:
		for {
			if f := math.Float64frombits(r.Uint64()); !math.IsNaN(f) && !math.IsInf(f, 0) {
				return f
			}
		}
	case 1:
		return math.Pow(10, float64(r.IntN(40)-15)) * float64(r.IntN(20)-10)
	default:
		return float64(r.IntN(360_000_000)-180_000_000) / 1e6
	}
}

func moment(r *rand.Rand) time.Time {
	at := time.Unix(r.Int64N(1<<33), r.Int64N(1e9))
	if r.IntN(2) == 0 {
		at = at.Truncate(time.Duration(r.IntN(5)) * time.Millisecond)
	}
	zone := r.IntN(2 * 24 * 3600)
	if r.IntN(200) > 0 {
		zone /= 2
	}
	if zone%3 == 0 {
		return at.UTC()
	}
	return at.In(time.FixedZone("", zone))
}

// writer is a sink whose Write the test provides.
type writer struct {
	*sink
	write func([]byte) (int, error)
}

func (w *writer) Write(p []byte) (int, error) { return w.write(p) }
