// The server's span is middleware around a plain handler, with a writer that keeps the
// status; the headers are set by a RoundTripper. A generic function wraps a step, and the
// task gets a context that has nothing but the trace.

// Package routing plans how a parcel gets to its recipient: it asks the map
// service for a way, stores the route, and has the courier told. Each order
// leaves one trace, so that a slow one can be taken apart.
package routing

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"pitstop/lessons/dispatch"
)

// ErrInvalid means that an order cannot be planned as it was sent.
var ErrInvalid = errors.New("order has no id or no address")

// Route is the way that a courier takes.
type Route struct {
	Order   string `json:"order"`
	Courier string `json:"courier"`
	Minutes int    `json:"minutes"`
}

// Config says what a Planner works with. All of it is needed.
type Config struct {
	Tracing    trace.TracerProvider
	Propagator propagation.TextMapPropagator // how a trace gets from one process to the next

	Client *http.Client
	Map    string // URL of the map service; it is asked with ?to=ADDRESS

	Store  func(context.Context, Route) error
	Notify func(context.Context, Route) error
	Submit func(task func()) error // hands Notify to a pool, which runs it later
}

// Planner plans routes. A request leaves these spans in one trace, and that is
// the trace of the headers it came with, if there is one:
//
//	POST /routes          server    http.response.status_code
//	└ plan route          internal  order.id, also of an order that is refused
//	  ├ look up way       client    http.response.status_code; traceparent goes out from here
//	  ├ store route       internal
//	  └ notify courier    internal  in the pool, maybe after the answer
//
// Each ends when its work does, and however that ends: by an error, an early
// return or a panic.
//
// An error is recorded once, by RecordError on the span where it happened, and
// that span has the status Error. So has plan route when one of its steps
// fails, except notify courier, which comes later. POST /routes has the status
// Error where the answer is a 5xx, and no other. A span whose own code panics
// has the status Error; the panic goes on.
type Planner struct {
	cfg    Config
	tracer trace.Tracer
	client *http.Client
}

// New makes a Planner that is ready to use.
func New(cfg Config) *Planner {
	next := cfg.Client.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	client := *cfg.Client
	client.Transport = carrying{cfg.Propagator, next}
	return &Planner{cfg: cfg, tracer: cfg.Tracing.Tracer("dispatchd/routing"), client: &client}
}

// carrying is a RoundTripper that sends the trace along.
type carrying struct {
	propagator propagation.TextMapPropagator
	next       http.RoundTripper
}

func (c carrying) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context()) // a RoundTripper may not change what it is given
	c.propagator.Inject(r.Context(), propagation.HeaderCarrier(r.Header))
	resp, err := c.next.RoundTrip(r)
	if err == nil {
		trace.SpanFromContext(r.Context()).SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
	}
	return resp, err
}

// statusWriter keeps the status that was written.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// ServeHTTP plans a route for the order in the body. It answers 201 with the
// Route, 400 for a body that cannot be read and for ErrInvalid, and 500 for
// what is not the depot's fault.
func (p *Planner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := p.cfg.Propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := p.tracer.Start(ctx, "POST /routes", trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	sw := &statusWriter{w, http.StatusOK}
	p.handle(sw, r.WithContext(ctx))
	span.SetAttributes(attribute.Int("http.response.status_code", sw.status))
	if sw.status >= 500 {
		span.SetStatus(codes.Error, http.StatusText(sw.status))
	}
}

func (p *Planner) handle(w http.ResponseWriter, r *http.Request) {
	var order dispatch.Order
	if json.NewDecoder(r.Body).Decode(&order) != nil {
		http.Error(w, "order cannot be read", http.StatusBadRequest)
		return
	}
	route, err := p.Plan(r.Context(), order)
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, ErrInvalid) {
			status = http.StatusBadRequest
		}
		http.Error(w, "no route", status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(route)
}

// Plan finds a way for the order, stores it, and has the courier told, which
// goes on when ctx has ended. The end of ctx cancels all the rest.
func (p *Planner) Plan(ctx context.Context, order dispatch.Order) (Route, error) {
	start := trace.WithAttributes(attribute.String("order.id", order.ID))
	return traced(ctx, p.tracer, "plan route", func(ctx context.Context) (Route, error) {
		if order.ID == "" || order.Address == "" {
			return Route{}, ErrInvalid
		}
		route, err := traced(ctx, p.tracer, "look up way", func(ctx context.Context) (Route, error) {
			return p.lookUp(ctx, order)
		}, trace.WithSpanKind(trace.SpanKindClient))
		if err != nil {
			return Route{}, err
		}
		_, err = traced(ctx, p.tracer, "store route", func(ctx context.Context) (struct{}, error) {
			return struct{}{}, p.cfg.Store(ctx, route)
		})
		if err != nil {
			return Route{}, err
		}
		here := trace.SpanContextFromContext(ctx)
		err = p.cfg.Submit(func() {
			ctx := trace.ContextWithSpanContext(context.Background(), here)
			_, _ = traced(ctx, p.tracer, "notify courier", func(ctx context.Context) (struct{}, error) {
				return struct{}{}, p.cfg.Notify(ctx, route)
			})
		})
		return route, err
	}, start)
}

// told is an error that a span below has recorded.
type told struct{ error }

func (t told) Unwrap() error { return t.error }

// traced does f in a span. An error is recorded by the innermost of them.
func traced[T any](ctx context.Context, tracer trace.Tracer, name string, f func(context.Context) (T, error), opts ...trace.SpanStartOption) (T, error) {
	ctx, span := tracer.Start(ctx, name, opts...)
	defer span.End()
	end := "panic"
	defer func() {
		if end != "" {
			span.SetStatus(codes.Error, end)
		}
	}()
	v, err := f(ctx)
	if end = ""; err == nil {
		return v, nil
	}
	end = err.Error()
	if _, ok := errors.AsType[told](err); !ok {
		span.RecordError(err)
	}
	return v, told{err}
}

// lookUp asks the map service for a way.
func (p *Planner) lookUp(ctx context.Context, order dispatch.Order) (Route, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.cfg.Map+"?to="+url.QueryEscape(order.Address), nil)
	if err != nil {
		return Route{}, err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return Route{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Route{}, errors.New("map service says " + resp.Status)
	}
	route := Route{Order: order.ID}
	err = json.NewDecoder(resp.Body).Decode(&route)
	return route, err
}
