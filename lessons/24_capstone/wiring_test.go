package dispatchd_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"pitstop/checker/probe"
	pool "pitstop/lessons/01_bounded_workers"
	routing "pitstop/lessons/14_tracing"
	"pitstop/lessons/dispatch"
)

// These tests look at wiring.go: what was promised before SIGTERM is kept
// after it, in time.

func TestWiring_Events(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.world.Set("notice", hang)
	const n = 30
	taken := with(each(n, func(i int) reply {
		return s.post("/events", dispatch.Event{ID: fmt.Sprintf("e-%d", i), Order: "o-1", Kind: "delivered"})
	}), 202)
	require.Equal(t, n, taken, "events taken")
	s.onceRefused("notice", 20*time.Millisecond)
	defer func() { // also where it does not end in time
		lost := n - len(s.world.Kept("notice"))
		if !probe.AtMost(t, "events taken before SIGTERM and lost", lost, 0, "events") {
			probe.Errorf(t, "wiring.events", "%d events were answered with 202 before SIGTERM, and %d of them never became a notice: their work ends with the signal.", n, lost)
		}
	}()
	s.stop()
}

func TestWiring_Traces(t *testing.T) {
	t.Parallel()
	if !flushes(t) {
		t.Skip("lesson 14 first: its stop does not hand over the spans")
	}
	if !waits(t) {
		t.Skip("lesson 01 first: its Shutdown does not wait for tasks")
	}
	// Spans are sent by the minute, or at the end.
	s := start(t, "OTEL_BSP_SCHEDULE_DELAY=60000", "DRAIN=0s")
	s.world.Set("notify", hang)
	const n = 6
	require.Equal(t, n, with(each(n, func(i int) reply { return s.post("/routes", order(i)) }), 201), "routes planned")
	s.onceRefused("notify", 300*time.Millisecond)
	s.stop()
	told := 0
	for _, span := range s.world.Spans() {
		if span.Name == "notify courier" {
			told++
		}
	}
	probe.Equal(t, "spans of background work that reached the collector", told, n, "spans")
	if told != n {
		probe.Errorf(t, "wiring.spans", "%d requests left work in the pool before SIGTERM; of its spans %d reached the collector, and %d spans of any kind: tracing ended before the work did, or had no time left.", n, told, len(s.world.Spans()))
	}
}

// flushes reports whether lesson 14's stop hands over what was recorded.
func flushes(t *testing.T) bool {
	kept := tracetest.NewInMemoryExporter()
	out := &keeper{InMemoryExporter: kept}
	tp, stop, err := routing.Start(routing.Export{Exporter: out, Service: "test", Ratio: 1})
	if err != nil {
		return false
	}
	_, span := tp.Tracer("test").Start(t.Context(), "one")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return stop(ctx) == nil && out.spans == 1
}

// waits reports whether lesson 01's Shutdown waits for what was accepted.
func waits(t *testing.T) bool {
	p := pool.New(pool.Config{Workers: 1, Queue: 1})
	began, gate := make(chan struct{}), make(chan struct{})
	defer close(gate)
	if p.Submit(func() { close(began); <-gate }) != nil {
		return false
	}
	<-began
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	return p.Shutdown(ctx) != nil
}

// keeper keeps the count through a Shutdown, which an InMemoryExporter does not.
type keeper struct {
	*tracetest.InMemoryExporter
	spans int
}

func (k *keeper) Shutdown(ctx context.Context) error {
	k.spans = len(k.GetSpans())
	return k.InMemoryExporter.Shutdown(ctx)
}

func TestWiring_Budget(t *testing.T) {
	t.Parallel()
	const budget = 3 * time.Second
	s := start(t, "BUDGET="+budget.String())
	for _, name := range []string{"notice", "notify", "traces", "depot_2", "delivered"} {
		s.world.Set(name, hang)
	}
	go s.call(t.Context(), "GET", s.ops+"/report", nil)
	require.True(t, probe.Poll(limit, func() bool { return s.world.Count("delivered").Now == 1 }), "a report is under way")
	s.call(t.Context(), "PUT", s.ops+"/settings", map[string]any{"notice": "snow", "late": 2})
	for i := range 3 {
		s.post("/routes", order(i))
		s.post("/events", dispatch.Event{ID: fmt.Sprintf("e-%d", i), Order: "o-1", Kind: "delivered"})
	}
	status, took := s.stop()
	budgets := float64(took) / float64(budget)
	if !probe.AtMost(t, "shutdown of a service whose world hangs, in budgets", budgets, 1.5, "") {
		probe.Errorf(t, "wiring.budget", "everything outside hangs, and with a budget of %v for the whole shutdown dispatchd took %.1f s: the parts have a time each, and the times add up.", budget, took.Seconds())
	}
	if status == 0 {
		probe.Errorf(t, "wiring.status", "work was cut off by the end of the budget, and the exit status is 0: nobody will ever look.")
	}
}
