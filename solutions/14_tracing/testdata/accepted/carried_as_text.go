// The spans are written out one by one. What the task needs of the trace is kept as text,
// as one would put it on a queue, and read back when the pool comes to it.

// Package routing plans how a parcel gets to its recipient: it asks the map
// service for a way, stores the route, and has the courier told. Each order
// leaves one trace, so that a slow one can be taken apart.
package routing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
}

// New makes a Planner that is ready to use.
func New(cfg Config) *Planner {
	return &Planner{cfg: cfg, tracer: cfg.Tracing.Tracer("dispatchd/routing")}
}

// ServeHTTP plans a route for the order in the body. It answers 201 with the
// Route, 400 for a body that cannot be read and for ErrInvalid, and 500 for
// what is not the depot's fault.
func (p *Planner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := p.cfg.Propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := p.tracer.Start(ctx, "POST /routes", trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()

	var order dispatch.Order
	if err := json.NewDecoder(r.Body).Decode(&order); err != nil {
		answer(w, span, http.StatusBadRequest, "order cannot be read")
		return
	}
	route, err := p.Plan(ctx, order)
	switch {
	case errors.Is(err, ErrInvalid):
		answer(w, span, http.StatusBadRequest, ErrInvalid.Error())
	case err != nil:
		span.SetStatus(codes.Error, "no route")
		answer(w, span, http.StatusInternalServerError, "no route")
	default:
		answer(w, span, http.StatusCreated, route)
	}
}

// Plan finds a way for the order, stores it, and has the courier told, which
// goes on when ctx has ended. The end of ctx cancels all the rest.
func (p *Planner) Plan(ctx context.Context, order dispatch.Order) (route Route, err error) {
	ctx, span := p.tracer.Start(ctx, "plan route", trace.WithAttributes(attribute.String("order.id", order.ID)))
	defer span.End()
	returned := false
	defer func() {
		switch {
		case !returned:
			span.SetStatus(codes.Error, "panic")
		case err != nil:
			span.SetStatus(codes.Error, err.Error())
		}
	}()
	route, err = p.plan(ctx, order)
	returned = true
	return route, err
}

// plan does the work of Plan, in the span of ctx.
func (p *Planner) plan(ctx context.Context, order dispatch.Order) (route Route, err error) {
	if order.ID == "" || order.Address == "" {
		trace.SpanFromContext(ctx).RecordError(ErrInvalid)
		return Route{}, ErrInvalid
	}
	err = p.step(ctx, "look up way", trace.SpanKindClient, func(ctx context.Context) (err error) {
		route, err = p.lookUp(ctx, order)
		return err
	})
	if err != nil {
		return Route{}, err
	}
	err = p.step(ctx, "store route", trace.SpanKindInternal, func(ctx context.Context) error {
		return p.cfg.Store(ctx, route)
	})
	if err != nil {
		return Route{}, err
	}

	ticket := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, ticket)
	err = p.cfg.Submit(func() {
		later := propagation.TraceContext{}.Extract(context.Background(), ticket)
		_ = p.step(later, "notify courier", trace.SpanKindInternal, func(ctx context.Context) error {
			return p.cfg.Notify(ctx, route)
		})
	})
	if err != nil {
		trace.SpanFromContext(ctx).RecordError(err)
		return Route{}, fmt.Errorf("notify courier: %w", err)
	}
	return route, nil
}

// step does f in a span of its own, and says on it how f ended.
func (p *Planner) step(ctx context.Context, name string, kind trace.SpanKind, f func(context.Context) error) error {
	ctx, span := p.tracer.Start(ctx, name, trace.WithSpanKind(kind))
	defer span.End() // deferred itself and not in a closure, it also records a panic
	returned := false
	defer func() {
		if !returned {
			span.SetStatus(codes.Error, "panic")
		}
	}()
	err := f(ctx)
	returned = true
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// lookUp asks the map service for a way, for the span in ctx.
func (p *Planner) lookUp(ctx context.Context, order dispatch.Order) (Route, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.cfg.Map+"?to="+url.QueryEscape(order.Address), nil)
	if err != nil {
		return Route{}, err
	}
	p.cfg.Propagator.Inject(ctx, propagation.HeaderCarrier(req.Header))
	resp, err := p.cfg.Client.Do(req)
	if err != nil {
		return Route{}, err
	}
	defer resp.Body.Close()
	trace.SpanFromContext(ctx).SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
	if resp.StatusCode != http.StatusOK {
		return Route{}, fmt.Errorf("map service says %s", resp.Status)
	}
	route := Route{Order: order.ID}
	if err := json.NewDecoder(resp.Body).Decode(&route); err != nil {
		return Route{}, fmt.Errorf("map service: %w", err)
	}
	return route, nil
}

func answer(w http.ResponseWriter, span trace.Span, status int, body any) {
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
