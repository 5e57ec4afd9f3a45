//go:build review

package routing_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"pitstop/checker/probe"
	routing "pitstop/lessons/14_tracing"
)

const (
	foreignTrace = "0af7651916cd43dd8448eb211c80319c"
	foreignSpan  = "b7ad6b7169203331"
	traceparent  = "00-" + foreignTrace + "-" + foreignSpan + "-01"
)

func TestReview_TraceComesInAndGoesOut(t *testing.T) {
	w := newWorld(t)
	var sent http.Header
	var open []string // spans at work while the map service is asked
	w.maps = func(rw http.ResponseWriter, r *http.Request) {
		sent = r.Header.Clone()
		for _, s := range w.rec.Started() {
			if s.EndTime().IsZero() {
				open = append(open, s.Name())
			}
		}
		fmt.Fprint(rw, `{"courier":"courier-12","minutes":14}`)
	}

	// Both ways over a real connection, as in the cluster.
	server := httptest.NewServer(w.planner())
	defer server.Close()
	body, err := io.ReadAll(w.request(t.Context(), "AMS-1001", nil).Body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/routes", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("traceparent", traceparent)
	do(t, "the request", func() {
		resp, err := server.Client().Do(req)
		if err != nil {
			panic(err)
		}
		resp.Body.Close()
	})
	server.Close() // after this the handler has returned
	w.runTasks()
	w.checkEnded("the order came over a connection")
	w.checkTree("trace.tree", w.spans(), "an order that came with a traceparent")

	spans := byName(w.spans())
	if parent := spans[served][0].Parent(); parent.TraceID().String() != foreignTrace || parent.SpanID().String() != foreignSpan {
		probe.Errorf(t, "trace.in", "a request came with traceparent %s, and %q has the parent %s in the trace %s.",
			traceparent, served, parent.SpanID(), spans[served][0].SpanContext().TraceID())
	}
	asked := spans[lookUp][0].SpanContext()
	got := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(sent)))
	if got.SpanID() != asked.SpanID() || got.TraceID() != asked.TraceID() {
		probe.Errorf(t, "trace.out", "the map service got the traceparent %q: that is %s, and not the span %q that asks it.",
			sent.Get("traceparent"), nameOf(w.spans(), got.SpanID()), lookUp)
	}
	if want := strings.Join([]string{served, plan, lookUp}, ", "); strings.Join(open, ", ") != want {
		probe.Errorf(t, "trace.tree", "while the map service is asked, the spans %q are open: %q is right.", strings.Join(open, ", "), want)
	}
}

func TestReview_PropagatorDecidesWhatTravels(t *testing.T) {
	w := newWorld(t)
	var sent http.Header
	w.maps = func(rw http.ResponseWriter, r *http.Request) {
		sent = r.Header.Clone()
		fmt.Fprint(rw, `{"courier":"courier-12","minutes":14}`)
	}
	w.cfg = func(c *routing.Config) {
		c.Propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	}
	w.post("AMS-1001", http.Header{"Traceparent": {traceparent}, "Baggage": {"tenant=north"}})
	if got := sent.Get("baggage"); got != "tenant=north" {
		probe.Errorf(t, "trace.propagator", "a request came with the baggage \"tenant=north\", which Config.Propagator knows, and the map service got %q.", got)
	}

	// Without a traceparent there is still the rest.
	w.post("AMS-1002", http.Header{"Baggage": {"tenant=south"}})
	if got := sent.Get("baggage"); got != "tenant=south" {
		probe.Errorf(t, "trace.propagator", "a request came with the baggage \"tenant=south\" and no traceparent, and the map service got %q.", got)
	}

	// One that carries nothing.
	w = newWorld(t)
	w.maps = func(rw http.ResponseWriter, r *http.Request) {
		sent = r.Header.Clone()
		fmt.Fprint(rw, `{"courier":"courier-12","minutes":14}`)
	}
	w.cfg = func(c *routing.Config) { c.Propagator = propagation.NewCompositeTextMapPropagator() }
	w.post("AMS-1001", http.Header{"Traceparent": {traceparent}})
	if got := sent.Get("traceparent"); got != "" {
		probe.Errorf(t, "trace.propagator", "Config.Propagator carries nothing, and the map service got the traceparent %q.", got)
	}
}

func TestReview_WorkIsDoneInsideItsSpan(t *testing.T) {
	w := newWorld(t)
	inside := map[string]trace.Span{}
	look := func(name string) func(context.Context, routing.Route) error {
		return func(ctx context.Context, _ routing.Route) error {
			span := trace.SpanFromContext(ctx)
			if !span.IsRecording() {
				probe.Errorf(t, "trace.unended", "the span has ended while the work of %q begins.", name)
			}
			inside[name] = span
			return nil
		}
	}
	w.cfg = func(c *routing.Config) { c.Store, c.Notify = look(store), look(notify) }
	w.post("AMS-1001", nil)
	w.runTasks()
	w.checkTree("trace.tree", w.spans(), "an order that was planned")
	for _, name := range []string{store, notify} {
		span := inside[name]
		if span == nil {
			probe.Fatalf(t, "trace.task", "the work of %q was not done.", name)
		}
		if got := nameOf(w.spans(), span.SpanContext().SpanID()); got != fmt.Sprintf("%q", name) {
			probe.Errorf(t, "trace.tree", "the context of the work has %s, and not %q: what is traced below hangs in the wrong place.", got, name)
		}
	}
}

func TestReview_TaskKeepsItsTraceAndNotTheCancellation(t *testing.T) {
	w := newWorld(t)
	var notified int
	var ended error
	w.cfg = func(c *routing.Config) {
		c.Notify = func(ctx context.Context, _ routing.Route) error {
			notified++
			ended = ctx.Err()
			return nil
		}
	}
	w.post("AMS-1001", http.Header{"Traceparent": {traceparent}})
	if notified != 0 {
		probe.Errorf(t, "trace.task", "the courier was told before the pool had run a task: Submit decides when.")
	}
	if n := w.runTasks(); n != 1 || notified != 1 {
		probe.Fatalf(t, "trace.task", "%d tasks were handed to the pool for one order, and the courier was told %d times.", n, notified)
	}
	if ended != nil {
		probe.Errorf(t, "trace.task", "the request has been answered, and the task's context ended with it: %v.", ended)
	}
	w.checkTree("trace.tree", w.spans(), "an order whose courier was told after the answer")
}

func TestReview_CancellationReachesTheSteps(t *testing.T) {
	for _, where := range []string{lookUp, store} {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		release := make(chan struct{})
		free := sync.OnceFunc(func() { close(release) })
		defer free()
		if where == lookUp {
			w.maps = func(_ http.ResponseWriter, r *http.Request) {
				cancel()
				select {
				case <-r.Context().Done():
				case <-release:
				}
			}
		} else {
			w.cfg = func(c *routing.Config) {
				c.Store = func(ctx context.Context, _ routing.Route) error {
					cancel()
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-release:
						return nil
					}
				}
			}
		}
		t.Cleanup(free) // before the map service is closed
		p, answer := w.planner(), httptest.NewRecorder()
		t.Cleanup(free)
		try(t, "trace.cancel", "a request whose depot had hung up during "+where, func() { p.ServeHTTP(answer, w.request(ctx, "AMS-1001", nil)) })
		w.checkEnded("the depot hung up during " + where)
		w.checkError(situation{name: "the depot hung up during " + where, status: 500, where: where, says: "canceled"})
	}
}

func TestReview_ErrorsOfOtherKinds(t *testing.T) {
	for _, s := range []situation{
		{name: "the map service answered with half a JSON value", status: 500, where: lookUp, says: "unexpected EOF", order: "AMS-1001",
			setup: func(w *world) {
				w.maps = func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, `{"courier":`) }
			}},
		{name: "the map service could not be reached", status: 500, where: lookUp, says: "connection refused by the test", order: "AMS-1001",
			setup: func(w *world) {
				w.cfg = func(c *routing.Config) {
					c.Client = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
						return nil, errors.New("connection refused by the test")
					})}
				}
			}},
		{name: "the pool was full", status: 500, where: plan, says: "queue of 8 is full", order: "AMS-1001",
			setup: func(w *world) {
				w.cfg = func(c *routing.Config) { c.Submit = func(func()) error { return errors.New("queue of 8 is full") } }
			}},
		{name: "the order has no id", status: 400, where: plan, says: "no id or no address", setup: func(*world) {}},
		{name: "the store took the order for invalid", status: 400, where: store, says: "no id or no address", order: "AMS-1001",
			setup: func(w *world) { w.store = fmt.Errorf("depot AMS: %w", routing.ErrInvalid) }},
	} {
		w := newWorld(t)
		s.setup(w)
		status, _ := w.post(s.order, nil)
		w.runTasks()
		if status != s.status {
			probe.Errorf(t, "trace.answer", "the depot was answered %d and not %d, where %s.", status, s.status, s.name)
		}
		w.checkEnded(s.name)
		w.checkError(s)
	}

	for where, body := range map[string]string{
		"the body was cut off": `{"id":`, "the weight was no number": `{"id":"AMS-1001","address":"Jodenbreestraat 4","grams":"heavy"}`,
	} {
		w := newWorld(t)
		stored := 0
		w.cfg = func(c *routing.Config) { c.Store = func(context.Context, routing.Route) error { stored++; return nil } }
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/routes", strings.NewReader(body))
		answer := httptest.NewRecorder()
		do(t, "ServeHTTP", func() { w.planner().ServeHTTP(answer, r) })
		if answer.Code != 400 || stored > 0 {
			probe.Errorf(t, "trace.answer", "the depot was answered %d and not 400, and %d routes were stored, where %s.", answer.Code, stored, where)
		}
		w.checkEnded(where)
		for _, s := range byName(w.spans())[served] {
			if s.Status().Code == codes.Error || value(s, "http.response.status_code") != int64(400) {
				probe.Errorf(t, "trace.error", "the span %q has the status %v and http.response.status_code=%v, where %s: a 4xx is the depot's fault.",
					served, s.Status().Code, value(s, "http.response.status_code"), where)
			}
		}
	}
}

// Whatever is traced, the work is still done: one route goes to the store, the
// courier and the depot.
func TestReview_TheRouteIsTheSameEverywhere(t *testing.T) {
	w := newWorld(t)
	want := routing.Route{Order: "AMS-1001", Courier: "courier-12", Minutes: 14}
	var stored, told routing.Route
	w.cfg = func(c *routing.Config) {
		c.Store = func(_ context.Context, r routing.Route) error { stored = r; return nil }
		c.Notify = func(_ context.Context, r routing.Route) error { told = r; return nil }
	}
	status, body := w.post("AMS-1001", nil)
	w.runTasks()
	var answered routing.Route
	if err := json.Unmarshal([]byte(body), &answered); err != nil || status != 201 || answered != want {
		probe.Errorf(t, "trace.answer", "a route was planned, and the depot was answered %d and %q; want 201 and %+v.", status, body, want)
	}
	if stored != want || told != want {
		probe.Errorf(t, "trace.answer", "a route was planned, %+v. What was stored is %+v, and what the courier was told is %+v.", want, stored, told)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestReview_PanicEndsItsSpans(t *testing.T) {
	fall := func(context.Context, routing.Route) error { panic("parcel 7 is lost") }
	for _, s := range []struct {
		where string
		cfg   func(*routing.Config)
	}{
		{lookUp, func(c *routing.Config) {
			c.Client = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { panic("parcel 7 is lost") })}
		}},
		{store, func(c *routing.Config) { c.Store = fall }},
		{notify, func(c *routing.Config) { c.Notify = fall }},
		{plan, func(c *routing.Config) { c.Submit = func(func()) error { panic("parcel 7 is lost") } }},
	} {
		w := newWorld(t)
		w.cfg = s.cfg
		p := w.planner()
		got := try(t, "trace.hang", "a panic in "+s.where, func() {
			p.ServeHTTP(httptest.NewRecorder(), w.request(t.Context(), "AMS-1001", nil))
			for _, task := range w.tasks {
				task()
			}
		})
		if got != "parcel 7 is lost" {
			probe.Errorf(t, "trace.panic", "%q panicked with \"parcel 7 is lost\", and what came out was %v: it must go on to net/http or the pool.", s.where, got)
		}
		w.checkEnded("the work of " + s.where + " panicked")
		for _, sp := range byName(w.spans())[s.where] {
			if sp.Status().Code != codes.Error {
				probe.Errorf(t, "trace.error", "the work of the span %q panicked, and its status is %v.", s.where, sp.Status().Code)
			}
		}
	}
}

func TestReview_OrdersAtTheSameTime(t *testing.T) {
	const orders = 6
	w := newWorld(t)
	var inside sync.WaitGroup
	inside.Add(orders)
	w.cfg = func(c *routing.Config) {
		c.Store = func(context.Context, routing.Route) error {
			inside.Done()
			inside.Wait()
			return nil
		}
	}
	p := w.planner()
	do(t, "ServeHTTP for six orders at once", func() {
		var all sync.WaitGroup
		for i := range orders {
			all.Go(func() {
				header := http.Header{"Traceparent": {fmt.Sprintf("00-%032x-%016x-01", i+1, i+1)}}
				p.ServeHTTP(httptest.NewRecorder(), w.request(t.Context(), fmt.Sprintf("AMS-%d", i), header))
			})
		}
		all.Wait()
	})
	w.runTasks()
	traces := map[trace.TraceID][]sdktrace.ReadOnlySpan{}
	for _, s := range w.spans() {
		id := s.SpanContext().TraceID()
		traces[id] = append(traces[id], s)
	}
	if !probe.Equal(t, "traces of six orders at once", len(traces), orders, "traces") {
		probe.Fatalf(t, "trace.mixed", "%d orders at the same time left %d traces.", orders, len(traces))
	}
	for _, spans := range traces {
		w.checkTree("trace.mixed", spans, "one of six orders at once")
	}
	w.checkEnded("six orders came at once")
}

// collector is an exporter that keeps what it gets.
type collector struct {
	mu       sync.Mutex
	names    []string
	services map[string]bool
	shut     int
	late     int // spans that came after Shutdown

	exports  func(context.Context) error // nil: all is well
	shutdown error
}

func (c *collector) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	c.mu.Lock()
	for _, s := range spans {
		if c.shut > 0 {
			c.late++
			continue
		}
		c.names = append(c.names, s.Name())
		if c.services == nil {
			c.services = map[string]bool{}
		}
		name, _ := s.Resource().Set().Value("service.name")
		c.services[name.AsString()] = true
	}
	c.mu.Unlock()
	if c.exports != nil {
		return c.exports(ctx)
	}
	return nil
}

func (c *collector) Shutdown(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut++
	return c.shutdown
}

// cleanEnvironment keeps what this machine sets, and what a mend sets, out of
// the next provider.
func cleanEnvironment(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "")
	t.Setenv("OTEL_TRACES_SAMPLER_ARG", "")
}

func start(t *testing.T, e routing.Export) (trace.TracerProvider, func(context.Context) error) {
	t.Helper()
	var tp trace.TracerProvider
	var stop func(context.Context) error
	var err error
	do(t, "Start", func() { tp, stop, err = routing.Start(e) })
	if err != nil || tp == nil || stop == nil {
		probe.Fatalf(t, "trace.config", "Start returned the error %v for an exporter and the ratio %v.", err, e.Ratio)
	}
	return tp, stop
}

func work(tp trace.TracerProvider, spans int) {
	tracer := tp.Tracer("test")
	for range spans {
		_, span := tracer.Start(context.Background(), "work")
		span.End()
	}
}

func TestReview_StopHandsOverAllSpans(t *testing.T) {
	cleanEnvironment(t)
	const spans = 40
	c := &collector{}
	tp, stop := start(t, routing.Export{Exporter: c, Service: "dispatchd", Ratio: 1})
	work(tp, spans)
	var err error
	do(t, "stop", func() { err = stop(t.Context()) })
	c.mu.Lock()
	defer c.mu.Unlock()
	if !probe.Equal(t, "spans exported when the process ends", len(c.names), spans, "spans") {
		probe.Errorf(t, "trace.lost", "%d of %d spans were exported when stop returned, and %d were handed to an exporter that had been shut down.", len(c.names), spans, c.late)
	}
	if c.shut == 0 || err != nil {
		probe.Errorf(t, "trace.lost", "stop returned %v and shut the exporter down %d times.", err, c.shut)
	}
	if len(c.services) != 1 || !c.services["dispatchd"] {
		probe.Errorf(t, "trace.attributes", "the spans carry the service names %v, and not \"dispatchd\".", c.services)
	}
}

func TestReview_StopSaysWhatWentWrong(t *testing.T) {
	refused, broken := errors.New("collector refused the batch"), errors.New("connection broken")
	for _, s := range []struct {
		name string
		c    *collector
		want error
	}{
		{"the exporter refused the last batch", &collector{exports: func(context.Context) error { return refused }}, refused},
		{"the exporter's Shutdown failed", &collector{shutdown: broken}, broken},
	} {
		cleanEnvironment(t)
		tp, stop := start(t, routing.Export{Exporter: s.c, Service: "dispatchd", Ratio: 1})
		work(tp, 3)
		var err error
		do(t, "stop", func() { err = stop(t.Context()) })
		if !errors.Is(err, s.want) {
			probe.Errorf(t, "trace.stop_error", "stop returned %v, where %s: nobody learns that spans are lost.", err, s.name)
		}
		s.c.mu.Lock()
		if s.c.shut == 0 {
			probe.Errorf(t, "trace.left_open", "stop returned %v and has not shut the exporter down, where %s.", err, s.name)
		}
		s.c.mu.Unlock()
	}
}

func TestReview_ExporterThatHangs(t *testing.T) {
	cleanEnvironment(t)
	gate := make(chan struct{})
	defer close(gate)
	c := &collector{exports: func(context.Context) error { <-gate; return nil }}
	tp, stop := start(t, routing.Export{Exporter: c, Service: "dispatchd", Ratio: 1})
	const spans = 4000 // more than any queue holds
	if v := try(t, "trace.sync", fmt.Sprintf("work of %d spans beside an exporter that hangs", spans), func() { work(tp, spans) }); v != nil {
		probe.Fatalf(t, "trace.panic", "a span panicked with %q.", fmt.Sprint(v))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	var err error
	try(t, "trace.stop_hangs", "stop, with 30ms and an exporter that hangs,", func() { err = stop(ctx) })
	if !errors.Is(err, context.DeadlineExceeded) {
		probe.Errorf(t, "trace.stop_error", "stop returned %v with spans that could not be handed over in its time: context.DeadlineExceeded is right.", err)
	}
}

func TestReview_SamplerIsSetBeforeTheProvider(t *testing.T) {
	sampled := func(tp trace.TracerProvider, ctx context.Context, n int) (kept int) {
		for range n {
			_, span := tp.Tracer("test").Start(ctx, "work")
			if span.SpanContext().IsSampled() {
				kept++
			}
			span.End()
		}
		return kept
	}
	foreign := func(flags trace.TraceFlags) context.Context {
		return trace.ContextWithRemoteSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{0xff, 15: 1}, SpanID: trace.SpanID{1}, TraceFlags: flags, Remote: true,
		}))
	}
	const n = 400
	for _, s := range []struct {
		name        string
		ratio       float64
		ctx         context.Context
		least, most int
	}{
		{"new traces at ratio 0", 0, context.Background(), 0, 0},
		{"new traces at ratio 1", 1, context.Background(), n, n},
		{"new traces at ratio 0.5", 0.5, context.Background(), n / 4, 3 * n / 4},
		{"spans of a kept trace at ratio 0", 0, foreign(trace.FlagsSampled), n, n},
		{"spans of a dropped trace at ratio 1", 1, foreign(0), 0, 0},
	} {
		cleanEnvironment(t)
		tp, _ := start(t, routing.Export{Exporter: &collector{}, Service: "dispatchd", Ratio: s.ratio})
		kept := sampled(tp, s.ctx, n)
		probe.Note(t, s.name+" that are kept", kept, "spans")
		if kept < s.least || kept > s.most {
			probe.Errorf(t, "trace.sampler", "%d of %d %s are kept, and %d to %d are right.", kept, n, s.name, s.least, s.most)
		}
	}

	t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
	t.Setenv("OTEL_TRACES_SAMPLER_ARG", "0.125")
	tp, _ := start(t, routing.Export{Exporter: &collector{}, Service: "dispatchd", Ratio: 1})
	if kept := sampled(tp, context.Background(), n); kept != n {
		probe.Errorf(t, "trace.env", "%d of %d traces are kept at ratio 1 where the environment says OTEL_TRACES_SAMPLER=always_off: Export decides.", kept, n)
	}
	if a, b := os.Getenv("OTEL_TRACES_SAMPLER"), os.Getenv("OTEL_TRACES_SAMPLER_ARG"); a != "always_off" || b != "0.125" {
		probe.Errorf(t, "trace.env", "Start has set OTEL_TRACES_SAMPLER to %q and its argument to %q.", a, b)
	}
}

func TestReview_StartRefusesWhatItCannotDo(t *testing.T) {
	cleanEnvironment(t)
	for name, e := range map[string]routing.Export{
		"no exporter":     {Service: "dispatchd", Ratio: 1},
		"a ratio below 0": {Exporter: &collector{}, Ratio: -0.1},
		"a ratio above 1": {Exporter: &collector{}, Ratio: 1.5},
		"a ratio of NaN":  {Exporter: &collector{}, Ratio: math.NaN()},
	} {
		var tp trace.TracerProvider
		var err error
		v := try(t, "trace.config", "Start with "+name, func() { tp, _, err = routing.Start(e) })
		switch {
		case v != nil:
			probe.Errorf(t, "trace.config", "Start panicked with %q, given %s.", fmt.Sprint(v), name)
		case err == nil || tp != nil:
			probe.Errorf(t, "trace.config", "Start returned the error %v, given %s, and a provider: %v. An error and no provider is right.", err, name, tp != nil)
		}
	}
}
