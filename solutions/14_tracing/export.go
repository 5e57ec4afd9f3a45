package routing

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Export says what becomes of spans.
type Export struct {
	Exporter sdktrace.SpanExporter
	Service  string // the service's name on each span

	// Ratio is the share of traces that begin here and are kept, from 0 to 1.
	// A trace that began elsewhere is kept if its beginning was.
	Ratio float64
}

// Start makes the provider of the process. Spans go to the exporter in batches
// and in the background: an exporter that hangs holds up no request. Export
// decides, and not the environment, which Start leaves as it is. Without an
// exporter, or with a ratio that is none, there is an error and no provider.
//
// Call stop at the end of the process. It hands over all spans that have ended
// and shuts the exporter down, even if those were refused, and returns the error
// of either. It gives up when its context ends.
func Start(e Export) (tp trace.TracerProvider, stop func(context.Context) error, err error) {
	if e.Exporter == nil {
		return nil, nil, errors.New("tracing: no exporter")
	}
	if !(e.Ratio >= 0 && e.Ratio <= 1) { // so written, it refuses NaN too
		return nil, nil, fmt.Errorf("tracing: ratio %v is not between 0 and 1", e.Ratio)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(e.Ratio))),
		sdktrace.WithBatcher(e.Exporter),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", e.Service))),
	)
	stop = func(ctx context.Context) error {
		// Shutdown exports too, but keeps the error of that to itself.
		return errors.Join(provider.ForceFlush(ctx), provider.Shutdown(ctx))
	}
	return provider, stop, nil
}
