package routing_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"pitstop/checker/probe"
	routing "pitstop/lessons/14_tracing"
	"pitstop/lessons/dispatch"
)

const (
	served = "POST /routes"
	plan   = "plan route"
	lookUp = "look up way"
	store  = "store route"
	notify = "notify courier"
)

// parents is the tree: who is whose child.
var parents = map[string]string{plan: served, lookUp: plan, store: plan, notify: plan}

func TestPlanner_OneTree(t *testing.T) {
	w := newWorld(t)
	w.post("AMS-1001", nil)
	if n := w.runTasks(); n != 1 {
		probe.Fatalf(t, "trace.task", "%d tasks were handed to Submit for one order that was planned.", n)
	}
	w.checkTree("trace.tree", w.spans(), "an order that was planned")
}

func TestPlanner_EverySpanEnds(t *testing.T) {
	for _, s := range situations() {
		w := newWorld(t)
		s.setup(w)
		w.post(s.order, nil)
		w.runTasks()
		w.checkEnded(s.name)
	}
}

func TestPlanner_ErrorIsOnTheSpanWhereItHappened(t *testing.T) {
	for _, s := range situations() {
		w := newWorld(t)
		s.setup(w)
		status, _ := w.post(s.order, nil)
		w.runTasks()
		if status != s.status {
			probe.Errorf(t, "trace.answer", "the depot was answered %d and not %d, where %s.", status, s.status, s.name)
		}
		w.checkError(s)
	}
}

func TestPlanner_AttributesAreOnTheirSpans(t *testing.T) {
	for _, s := range situations() {
		w := newWorld(t)
		s.setup(w)
		w.post(s.order, nil)
		w.runTasks()
		spans := byName(w.spans())

		check := func(span, key string, want any) {
			for _, sp := range spans[span] {
				if got := value(sp, key); got != want {
					probe.Errorf(t, "trace.attributes", "the span %q has %s=%v and not %v, where %s.", span, key, got, want, s.name)
				}
			}
		}
		check(served, "http.response.status_code", int64(s.status))
		check(plan, "order.id", s.order)
		if s.mapStatus != 0 {
			check(lookUp, "http.response.status_code", int64(s.mapStatus))
		}
		for name, want := range map[string]trace.SpanKind{served: trace.SpanKindServer, plan: trace.SpanKindInternal, lookUp: trace.SpanKindClient} {
			for _, sp := range spans[name] {
				if sp.SpanKind() != want {
					probe.Errorf(t, "trace.attributes", "the span %q is of kind %v and not %v, where %s.", name, sp.SpanKind(), want, s.name)
				}
			}
		}
	}
}

// situation is one way that an order goes.
type situation struct {
	name      string
	setup     func(*world)
	order     string
	status    int
	mapStatus int    // what the map service said
	where     string // the span where it failed
	says      string // the error's words
}

func situations() []situation {
	return []situation{
		{"the route was planned", func(*world) {}, "AMS-1001", 201, 200, "", ""},
		{"the order has no address", func(w *world) { w.address = "" }, "AMS-1001", 400, 0, plan, "no id or no address"},
		{"the map service was down", func(w *world) { w.maps = refuse(503) }, "AMS-1001", 500, 503, lookUp, "503"},
		{"the route could not be stored", func(w *world) { w.store = errors.New("disk 7 is full") }, "AMS-1001", 500, 200, store, "disk 7 is full"},
		{"the courier could not be told", func(w *world) { w.notify = errors.New("no signal in Delft") }, "AMS-1001", 201, 200, notify, "no signal in Delft"},
	}
}

func refuse(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

// world is a Planner with everything around it, and what was recorded there.
type world struct {
	t        *testing.T
	rec      *tracetest.SpanRecorder
	provider *sdktrace.TracerProvider

	address       string
	maps          http.HandlerFunc
	store, notify error
	cfg           func(*routing.Config) // a last change

	made  *routing.Planner
	mu    sync.Mutex
	tasks []func()
}

func newWorld(t *testing.T) *world {
	rec := tracetest.NewSpanRecorder()
	return &world{
		t: t, rec: rec, address: "Jodenbreestraat 4, Amsterdam",
		provider: sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithSpanProcessor(rec)),
		maps: func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"courier":"courier-12","minutes":14}`)
		},
	}
}

// planner makes the Planner on first use, when the world is as it shall be.
func (w *world) planner() *routing.Planner {
	w.t.Helper()
	if w.made != nil {
		return w.made
	}
	server := httptest.NewServer(w.maps)
	w.t.Cleanup(server.Close)
	cfg := routing.Config{
		Tracing:    w.provider,
		Propagator: propagation.TraceContext{},
		Client:     server.Client(),
		Map:        server.URL,
		Store:      func(context.Context, routing.Route) error { return w.store },
		Notify:     func(context.Context, routing.Route) error { return w.notify },
		Submit: func(task func()) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.tasks = append(w.tasks, task)
			return nil
		},
	}
	if w.cfg != nil {
		w.cfg(&cfg)
	}
	w.made = routing.New(cfg)
	return w.made
}

// post sends an order, as net/http would: the context of the request ends with
// the call.
func (w *world) post(id string, header http.Header) (status int, body string) {
	w.t.Helper()
	p := w.planner()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	answer := httptest.NewRecorder()
	do(w.t, "ServeHTTP", func() { p.ServeHTTP(answer, w.request(ctx, id, header)) })
	return answer.Code, answer.Body.String()
}

func (w *world) request(ctx context.Context, id string, header http.Header) *http.Request {
	b, err := json.Marshal(dispatch.Order{ID: id, Depot: "AMS", Address: w.address, Grams: 1200})
	if err != nil {
		panic(err)
	}
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/routes", bytes.NewReader(b))
	for key, values := range header {
		r.Header[key] = values
	}
	return r
}

// runTasks does what the pool would do later, and reports how much it was.
func (w *world) runTasks() int {
	w.t.Helper()
	w.mu.Lock()
	tasks := w.tasks
	w.tasks = nil
	w.mu.Unlock()
	for _, task := range tasks {
		do(w.t, "the task", task)
	}
	return len(tasks)
}

// do calls f, and ends the test when it panics or is not back.
func do(t *testing.T, name string, f func()) {
	t.Helper()
	if v := try(t, "trace.hang", name, f); v != nil {
		probe.Fatalf(t, "trace.panic", "%s panicked with %q.", name, fmt.Sprint(v))
	}
}

// try calls f, and returns what it panicked with. When f is not back it ends
// the test with code.
func try(t *testing.T, code, name string, f func()) (panicked any) {
	t.Helper()
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		f()
	}()
	select {
	case v := <-done:
		return v
	case <-time.After(4 * time.Second):
		probe.Fatalf(t, code, "%s was not back after 4s.", name)
		return nil
	}
}

// spans is all that were started, ended or not.
func (w *world) spans() []sdktrace.ReadOnlySpan {
	w.t.Helper()
	var all []sdktrace.ReadOnlySpan
	for _, s := range w.rec.Started() {
		all = append(all, s)
	}
	if len(all) == 0 {
		probe.Fatalf(w.t, "trace.silent", "an order was answered, and Config.Tracing has seen no span.")
	}
	return all
}

func (w *world) checkEnded(where string) {
	w.t.Helper()
	var open []string
	for _, s := range w.spans() {
		if s.EndTime().IsZero() {
			open = append(open, s.Name())
		}
	}
	if !probe.Equal(w.t, "spans that never end, where "+where, len(open), 0, "spans") {
		probe.Errorf(w.t, "trace.unended", "%d of %d spans never end, where %s: %s. A span that does not end is not exported.",
			len(open), len(w.spans()), where, strings.Join(open, ", "))
	}
}

// checkTree looks at the spans of one order that was planned, and fails with
// code.
func (w *world) checkTree(code string, all []sdktrace.ReadOnlySpan, where string) {
	w.t.Helper()
	spans := byName(all)
	for _, name := range []string{served, plan, lookUp, store, notify} {
		if n := len(spans[name]); n != 1 {
			probe.Fatalf(w.t, code, "%d spans have the name %q for %s, and 1 is right.", n, name, where)
		}
	}
	traces := map[trace.TraceID]bool{}
	for _, s := range all {
		traces[s.SpanContext().TraceID()] = true
	}
	if !probe.Equal(w.t, "traces of "+where, len(traces), 1, "traces") {
		probe.Errorf(w.t, code, "%s left %d traces and not one.", where, len(traces))
	}
	for _, name := range []string{plan, lookUp, store, notify} {
		want := spans[parents[name]][0].SpanContext().SpanID()
		if got := spans[name][0].Parent().SpanID(); got != want {
			probe.Errorf(w.t, code, "the span %q is a child of %s and not of %q, for %s.", name, nameOf(all, got), parents[name], where)
		}
	}
}

// checkError looks for the one error of a situation, on the spans it belongs to.
func (w *world) checkError(s situation) {
	w.t.Helper()
	want := map[string]bool{} // the spans with status Error
	if s.where != "" {
		want[s.where] = true
		want[plan] = s.where != notify
		want[served] = s.status >= 500
	}
	recorded := 0
	for _, sp := range w.spans() {
		name := sp.Name()
		if _, ok := parents[name]; !ok && name != served {
			continue // a span of the mend's own
		}
		if got := sp.Status().Code == codes.Error; got != want[name] {
			probe.Errorf(w.t, "trace.error", "the span %q has the status %v, where %s.", name, sp.Status().Code, s.name)
		}
		for _, e := range sp.Events() {
			if e.Name != "exception" {
				continue
			}
			recorded++
			if name != s.where {
				probe.Errorf(w.t, "trace.error", "an error is recorded on the span %q, and it happened in %q, where %s.", name, s.where, s.name)
			} else if text := fmt.Sprint(e.Attributes); !strings.Contains(text, s.says) {
				probe.Errorf(w.t, "trace.error", "the error on the span %q does not say %q, where %s.", name, s.says, s.name)
			}
		}
	}
	events := 0
	if s.where != "" {
		events = 1
	}
	if !probe.Equal(w.t, "errors recorded, where "+s.name, recorded, events, "errors") {
		probe.Errorf(w.t, "trace.error", "%d errors are recorded and not %d, where %s.", recorded, events, s.name)
	}
}

func byName(all []sdktrace.ReadOnlySpan) map[string][]sdktrace.ReadOnlySpan {
	m := map[string][]sdktrace.ReadOnlySpan{}
	for _, s := range all {
		m[s.Name()] = append(m[s.Name()], s)
	}
	return m
}

func nameOf(all []sdktrace.ReadOnlySpan, id trace.SpanID) string {
	if !id.IsValid() {
		return "no span"
	}
	i := slices.IndexFunc(all, func(s sdktrace.ReadOnlySpan) bool { return s.SpanContext().SpanID() == id })
	if i < 0 {
		return "a span of another process"
	}
	return fmt.Sprintf("%q", all[i].Name())
}

// value is the attribute of a span, or nil.
func value(s sdktrace.ReadOnlySpan, key string) any {
	for _, kv := range s.Attributes() {
		if kv.Key == attribute.Key(key) {
			return kv.Value.AsInterface()
		}
	}
	return nil
}
