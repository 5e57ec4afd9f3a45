// Package world plays everything outside dispatchd: the database, the bank,
// the map and address services, the product services, the couriers' phones,
// the depots' screens and the collector of traces. All of it is one HTTP
// handler, so that a test, a terminal and a cluster can each have one.
//
// Every part can be made slow, broken or deaf while it runs, and counts what
// it was asked: see Fault and Count.
package world

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"pitstop/lessons/dispatch"
)

// Fault is what is wrong with a part of the world. The zero Fault is a part
// that is well.
type Fault struct {
	Delay  time.Duration `json:"delay"`  // before each answer
	Hang   bool          `json:"hang"`   // no answer, until the fault is mended or the caller leaves
	Status int           `json:"status"` // answer this, with no body; 0: as usual
}

// Count is what a part was asked. A call that was left by its caller before
// it was answered is both ended and left.
type Count struct {
	Began int `json:"began"`
	Now   int `json:"now"`  // under way
	Peak  int `json:"peak"` // most at once
	Left  int `json:"left"` // by callers who did not wait
}

// Span is one span as the collector got it.
type Span struct {
	Trace  string `json:"trace"`
	ID     string `json:"id"`
	Parent string `json:"parent,omitempty"`
	Name   string `json:"name"`
	Error  bool   `json:"error,omitempty"`
}

// World is the outside. Make one with New; it is an http.Handler.
type World struct {
	http.Handler

	mu     sync.Mutex
	rows   int
	faults map[string]*fault
	counts map[string]*Count
	kept   map[string]json.RawMessage // by "kind/key"
	spans  []Span
}

type fault struct {
	Fault
	mended chan struct{}
}

// New makes a world in which all is well.
func New() *World {
	w := &World{
		rows: 100, faults: map[string]*fault{}, counts: map[string]*Count{}, kept: map[string]json.RawMessage{},
	}
	r := chi.NewRouter()
	part := func(method, pattern, name string, answer http.HandlerFunc) {
		r.Method(method, pattern, w.part(name, answer))
	}
	// The database.
	part("GET", "/db/ping", "ping", nothing)
	part("GET", "/db/scans/{text}", "scan", text("depot 4"))
	part("PUT", "/db/orders/{id}", "store_order", w.keep("order", "id"))
	part("GET", "/db/orders/{id}", "order", func(rw http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		answer(rw, dispatch.Order{ID: id, Depot: "north", Recipient: "c-" + id, Address: "Mill Lane 7", Grams: 500})
	})
	part("GET", "/db/customers/{id}", "customer", func(rw http.ResponseWriter, r *http.Request) {
		answer(rw, map[string]string{"id": r.PathValue("id"), "name": "J. Doe", "phone": "555-0100"})
	})
	part("GET", "/db/preferences/{id}", "preferences", func(rw http.ResponseWriter, r *http.Request) {
		answer(rw, map[string]string{"safe_place": "behind the shed", "window": "17-19"})
	})
	part("GET", "/db/positions/{id}", "position", func(rw http.ResponseWriter, r *http.Request) {
		answer(rw, dispatch.Position{Courier: r.PathValue("id"), Lat: 1, Lon: 1, At: time.Unix(1_700_000_000, 0).UTC()})
	})
	part("PUT", "/db/routes/{id}", "store_route", w.keep("route", "id"))
	part("PUT", "/db/told/{id}", "notify", w.keep("told", "id"))
	part("PUT", "/db/notices/{id}", "notice", w.keep("notice", "id"))
	part("GET", "/db/delivered", "delivered", w.delivered)
	// Other people's services.
	part("POST", "/bank/charges", "bank", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answer(rw, map[string]string{"payment": "p-1"})
	})
	part("GET", "/map", "map", func(rw http.ResponseWriter, r *http.Request) {
		answer(rw, map[string]any{"courier": "van-12", "minutes": 25})
	})
	part("GET", "/geo/v1/place", "geo", func(rw http.ResponseWriter, r *http.Request) {
		answer(rw, map[string]any{"lat": 52.1, "lon": 4.3, "zone": "Z1"})
	})
	part("GET", "/geo/healthz", "geo_health", nothing)
	for _, name := range []string{"primary", "backup"} {
		part("GET", "/products/"+name+"/{id}", name, func(rw http.ResponseWriter, r *http.Request) {
			answer(rw, map[string]any{"id": r.PathValue("id"), "handling": "this side up", "grams": 750})
		})
	}
	part("POST", "/phones/{id}", "phone", nothing)
	for n := range 3 {
		depot := fmt.Sprintf("depot_%d", n+1)
		part("PUT", "/depots/"+depot, depot, w.keep("depot", ""))
	}
	part("POST", "/traces", "traces", w.collect)
	// For whoever drives the world from outside, as on a cluster.
	r.Put("/faults/{name}", func(rw http.ResponseWriter, r *http.Request) {
		var f Fault
		if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		w.Set(r.PathValue("name"), f)
	})
	r.Get("/counts", func(rw http.ResponseWriter, r *http.Request) { answer(rw, w.Counts()) })
	w.Handler = r
	return w
}

// Set makes a part of the world faulty, or well again. It counts for calls
// that begin later, and releases those that hang.
func (w *World) Set(name string, f Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.faults[name]; old != nil {
		close(old.mended)
	}
	w.faults[name] = &fault{f, make(chan struct{})}
}

// Count says what a part was asked so far.
func (w *World) Count(name string) Count {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *w.count(name)
}

// Counts says what every part was asked so far.
func (w *World) Counts() map[string]Count {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := map[string]Count{}
	for name, c := range w.counts {
		all[name] = *c
	}
	return all
}

// Kept returns what was stored of a kind, as "notice", by key.
func (w *World) Kept(kind string) map[string]json.RawMessage {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := map[string]json.RawMessage{}
	for key, v := range w.kept {
		if k, ok := strings.CutPrefix(key, kind+"/"); ok {
			all[k] = v
		}
	}
	return all
}

// Spans returns what the collector has got.
func (w *World) Spans() []Span {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Span(nil), w.spans...)
}

// SetDelivered sets how many orders the day's report has.
func (w *World) SetDelivered(rows int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rows = rows
}

func (w *World) count(name string) *Count {
	c := w.counts[name]
	if c == nil {
		c = &Count{}
		w.counts[name] = c
	}
	return c
}

// part counts the calls of one part of the world and lets its fault act.
func (w *World) part(name string, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		c := w.count(name)
		c.Began++
		c.Now++
		c.Peak = max(c.Peak, c.Now)
		f := w.faults[name]
		w.mu.Unlock()
		// A server notices that its caller has left once it has read the body.
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		stayed := f.wait(r.Context())
		w.mu.Lock()
		c.Now--
		if !stayed {
			c.Left++
		}
		w.mu.Unlock()
		if !stayed {
			return
		}
		if f != nil && f.Status != 0 {
			rw.WriteHeader(f.Status)
			return
		}
		next(rw, r)
	})
}

// wait lets a fault's time pass. It returns false when the caller has left.
func (f *fault) wait(ctx context.Context) bool {
	if f == nil {
		return true
	}
	if f.Hang {
		select {
		case <-f.mended:
		case <-ctx.Done():
			return false
		}
	}
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (w *World) keep(kind, key string) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		id := r.PathValue(key)
		if key == "" {
			id = r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		}
		if len(body) > 4<<10 {
			body = fmt.Appendf(nil, `{"bytes":%d}`, len(body)) // a test asks whether, not what
		}
		w.mu.Lock()
		w.kept[kind+"/"+id] = body
		w.mu.Unlock()
		rw.WriteHeader(http.StatusNoContent)
	}
}

// delivered lists the day's orders, one JSON object a line.
func (w *World) delivered(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	rows := w.rows
	w.mu.Unlock()
	enc := json.NewEncoder(rw)
	for i := range rows {
		_ = enc.Encode(map[string]any{
			"order": dispatch.Order{ID: "o-" + strconv.Itoa(i), Recipient: "Recipient " + strconv.Itoa(i%97), Grams: 100 + i%900},
			"km":    float64(i%400) / 10,
		})
	}
}

func (w *World) collect(rw http.ResponseWriter, r *http.Request) {
	var batch []Span
	if err := json.NewDecoder(r.Body).Decode(&batch); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	w.spans = append(w.spans, batch...)
	if over := len(w.spans) - 100_000; over > 0 {
		w.spans = w.spans[over:] // a world on a cluster lives long
	}
	w.mu.Unlock()
}

func nothing(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(http.StatusNoContent) }

func text(s string) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(rw, s) }
}

func answer(rw http.ResponseWriter, body any) {
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(body)
}
