package dispatchd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	report "pitstop/lessons/10_report"
	card "pitstop/lessons/20_deadlines"
	catalog "pitstop/lessons/21_fallbacks"
	"pitstop/lessons/dispatch"
)

// outside is how dispatchd reaches the rest of the world. Each call ends soon
// after its context does.
type outside struct {
	url    string
	client *http.Client
}

func newOutside(url string) *outside {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 64 // the default of 2 opens a connection for nearly every call
	return &outside{url: url, client: &http.Client{Transport: t}}
}

// errNotFound is an answer of 404.
var errNotFound = errors.New("not found")

// do makes one call. In is sent as JSON unless it is nil, and the answer is
// decoded into out unless that is nil.
func (o *outside) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, o.url+path, body)
	if err != nil {
		return err
	}
	resp, err := o.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s %s: %w", method, path, errNotFound)
	case resp.StatusCode >= 300:
		return fmt.Errorf("%s %s: %s", method, path, resp.Status)
	case out == nil:
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	if s, ok := out.(*string); ok {
		b, err := io.ReadAll(resp.Body)
		*s = string(b)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func (o *outside) ping(ctx context.Context) error { return o.do(ctx, "GET", "/db/ping", nil, nil) }

func (o *outside) scan(ctx context.Context, text string) (answer string, err error) {
	err = o.do(ctx, "GET", "/db/scans/"+url.PathEscape(text), nil, &answer)
	return answer, err
}

func (o *outside) storeOrder(ctx context.Context, order dispatch.Order) error {
	return o.do(ctx, "PUT", "/db/orders/"+url.PathEscape(order.ID), order, nil)
}

func (o *outside) position(ctx context.Context, courier string) (p dispatch.Position, err error) {
	err = o.do(ctx, "GET", "/db/positions/"+url.PathEscape(courier), nil, &p)
	return p, err
}

func (o *outside) charge(ctx context.Context, order dispatch.Order) (string, error) {
	var answer struct{ Payment string }
	err := o.do(ctx, "POST", "/bank/charges", map[string]string{"order": order.ID}, &answer)
	return answer.Payment, err
}

// The services that a card is put together from.

func (o *outside) Order(ctx context.Context, id string) (v dispatch.Order, err error) {
	err = o.do(ctx, "GET", "/db/orders/"+url.PathEscape(id), nil, &v)
	return v, err
}

func (o *outside) Customer(ctx context.Context, id string) (v card.Customer, err error) {
	err = o.do(ctx, "GET", "/db/customers/"+url.PathEscape(id), nil, &v)
	return v, err
}

func (o *outside) Preferences(ctx context.Context, id string) (v card.Preferences, err error) {
	err = o.do(ctx, "GET", "/db/preferences/"+url.PathEscape(id), nil, &v)
	return v, err
}

// products is one of the two services that know products.
type products struct {
	*outside
	name string // primary or backup
}

func (p products) Product(ctx context.Context, id string) (v catalog.Product, err error) {
	err = p.do(ctx, "GET", "/products/"+p.name+"/"+url.PathEscape(id), nil, &v)
	if errors.Is(err, errNotFound) {
		err = catalog.ErrNotFound
	}
	return v, err
}

// delivered yields the day's orders as they come from the database, and puts
// what broke on the way into err.
func (o *outside) delivered(ctx context.Context, err *error) iter.Seq[report.Row] {
	return func(yield func(report.Row) bool) {
		req, e := http.NewRequestWithContext(ctx, "GET", o.url+"/db/delivered", nil)
		if e != nil {
			*err = e
			return
		}
		resp, e := o.client.Do(req)
		if e != nil {
			*err = e
			return
		}
		defer resp.Body.Close()
		dec := json.NewDecoder(resp.Body)
		for {
			var row report.Row
			if e := dec.Decode(&row); e != nil {
				if !errors.Is(e, io.EOF) {
					*err = e
				}
				return
			}
			if !yield(row) {
				return
			}
		}
	}
}

// collector sends spans to the collector of traces. In a service of your own
// this is OTLP; here it is JSON, and needs no protobuf.
type collector struct{ *outside }

func (c collector) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	batch := []map[string]any{}
	for _, s := range spans {
		one := map[string]any{
			"trace": s.SpanContext().TraceID().String(), "id": s.SpanContext().SpanID().String(),
			"name": s.Name(), "error": s.Status().Code.String() == "Error",
		}
		if s.Parent().SpanID().IsValid() {
			one["parent"] = s.Parent().SpanID().String()
		}
		batch = append(batch, one)
	}
	return c.do(ctx, "POST", "/traces", batch, nil)
}

func (c collector) Shutdown(context.Context) error { return nil }

// patience is how long background work waits for the world, where nobody else
// sets an end to it.
const patience = 5 * time.Second
