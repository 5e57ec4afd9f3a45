//go:build review

package intake_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pitstop/checker/probe"
	intake "pitstop/lessons/08_streaming_json"
	"pitstop/lessons/dispatch"
)

const soon = 5 * time.Second // for what takes a millisecond

// The client sends 64 orders, 256 KiB, and then waits for one to be handled.
func TestReview_OrdersAreHandledWhileTheBodyArrives(t *testing.T) {
	got := &ledger{}
	handled := make(chan struct{}, 1)
	d := serve(t, intake.Config{Handle: func(ctx context.Context, o dispatch.Order) error {
		select {
		case handled <- struct{}{}:
		default:
		}
		return got.take(ctx, o)
	}})
	body, client := io.Pipe()
	defer client.Close()
	answered := make(chan reply, 1)
	go func() {
		r, _ := d.try(t.Context(), "application/json", body, -1)
		body.Close()
		answered <- r
	}()
	const first, all = 64, 80
	s := streamOf(all)
	if !sendOrders(client, s, first) {
		probe.Fatalf(t, "intake.stuck", "%v passed, and %d orders of a body were not read.", soon, first)
	}
	select {
	case <-handled:
	case <-time.After(soon):
		probe.Fatalf(t, "intake.late", "%d orders of a body had arrived and %v had passed, and none was handled.", first, soon)
	}
	if !sendOrders(client, s, all-first) {
		probe.Fatalf(t, "intake.stuck", "%v passed, and the last %d orders of a body were not read.", soon, all-first)
	}
	client.Close()
	select {
	case a := <-answered:
		if a.status != http.StatusOK || a.Accepted != all {
			probe.Errorf(t, "intake.answer", "A body of %d orders that paused after %d was answered with %v; want status 200 and all accepted.", all, first, a)
		}
	case <-time.After(soon):
		probe.Fatalf(t, "intake.stuck", "A POST had no answer %v after its body had ended.", soon)
	}
	got.check(t, all)
}

func TestReview_NothingMayFollowTheArray(t *testing.T) {
	array := "[" + order(0) + "," + order(1) + "]"
	for name, tail := range sorted(map[string]string{
		"a word":                      " and one more",
		"a second array":              "[]",
		"an order":                    "\n" + order(2),
		"a comma":                     ",",
		"a second bracket":            "]",
		"a word behind 64 KiB blanks": strings.Repeat(" ", 64<<10) + "x",
	}) {
		got := &ledger{}
		d := serve(t, intake.Config{Handle: got.take})
		if a := d.post(t, strings.NewReader(array+tail), -1); a.status != http.StatusBadRequest {
			probe.Errorf(t, "intake.trailing", "A body with %s after the array was answered with %v; want status 400.", name, a)
		} else {
			got.check(t, a.Accepted)
		}
	}
	got := &ledger{}
	d := serve(t, intake.Config{Handle: got.take})
	if a := d.post(t, strings.NewReader("\r\n "+array+" \r\n\t"), -1); a.status != http.StatusOK {
		probe.Errorf(t, "intake.answer", "An array with a few blanks and line ends around it was answered with %v; want status 200.", a)
	}
}

func TestReview_StrictAboutOrders(t *testing.T) {
	for name, second := range sorted(map[string]string{
		"a field that orders do not have": `{"id":"o-1","express":true}`,
		"null":                            `null`,
		"no object":                       `"o-1"`,
		"an empty object":                 `{}`,
	}) {
		got := &ledger{}
		d := serve(t, intake.Config{Handle: got.take})
		a := d.post(t, strings.NewReader("["+order(0)+","+second+","+order(2)+"]"), -1)
		if a.status != http.StatusBadRequest {
			probe.Errorf(t, "intake.strict", "A body whose second order is %s was answered with %v; want status 400.", name, a)
		} else {
			got.check(t, a.Accepted)
		}
	}
	for name, text := range sorted(map[string]string{"null": "null", "an empty object": "{}", "an empty string": `""`, "a bracket only": "[", "two numbers where one belongs": `[{"id":"o-0","grams":1 2}]`, "a comma at the end": "[" + order(0) + ",]", "a comma first": "[," + order(0) + "]"}) {
		got := &ledger{}
		d := serve(t, intake.Config{Handle: got.take})
		if a := d.post(t, strings.NewReader(text), -1); a.status != http.StatusBadRequest {
			probe.Errorf(t, "intake.malformed", "A body that is %s was answered with %v; want status 400.", name, a)
		} else {
			got.check(t, a.Accepted)
		}
	}
}

// An order without an address has none, whatever the one before it had.
func TestReview_OrdersDoNotMix(t *testing.T) {
	var got []dispatch.Order
	d := serve(t, intake.Config{Handle: func(_ context.Context, o dispatch.Order) error {
		got = append(got, o)
		return nil
	}})
	a := d.post(t, strings.NewReader(`[{"id":"1","depot":"Ulm","recipient":"J. Kowalski","address":"Am Wall 4","grams":900},{"id":"2"}]`), -1)
	if a.status != http.StatusOK || len(got) != 2 {
		probe.Fatalf(t, "intake.answer", "A body of two orders, one of them with an id only, was answered with %v, and %d were handled; want status 200 and two.", a, len(got))
	}
	if want := (dispatch.Order{ID: "2"}); got[1] != want {
		probe.Errorf(t, "intake.mixed", "An order that has an id only was handed on as %+v: that is the order before it.", got[1])
	}
}

func TestReview_ContentType(t *testing.T) {
	text := "[" + order(0) + "]"
	for contentType, want := range sorted(map[string]int{
		"application/json":                  http.StatusOK,
		"application/json; charset=utf-8":   http.StatusOK,
		"application/json;charset=utf-8":    http.StatusOK,
		"Application/JSON":                  http.StatusOK,
		"":                                  http.StatusUnsupportedMediaType,
		"text/plain":                        http.StatusUnsupportedMediaType,
		"application/x-www-form-urlencoded": http.StatusUnsupportedMediaType,
		"application/json-seq":              http.StatusUnsupportedMediaType,
		"text/plain; was=application/json":  http.StatusUnsupportedMediaType,
	}) {
		for _, length := range []int64{-1, int64(len(text))} {
			got := &ledger{}
			d := serve(t, intake.Config{Handle: got.take})
			a := d.postAs(t, contentType, strings.NewReader(text), length)
			if a.status != want {
				probe.Errorf(t, "intake.content_type", "A body of content type %q was answered with %v; want status %d.", contentType, a, want)
			} else if n := got.count(); want != http.StatusOK && n > 0 {
				probe.Errorf(t, "intake.content_type", "A body of content type %q was refused, and %d of its orders were handled.", contentType, n)
			}
		}
	}
}

func TestReview_AnswersQuoteNothing(t *testing.T) {
	const secret, number = "Kowalski", "4810020030040050060070"
	for name, text := range sorted(map[string]string{
		"an unknown field":       `[{"id":"1","Kowalski":"Am Wall 4"}]`,
		"a number out of range":  `[{"id":"1","grams":` + number + `}]`,
		"a fraction":             `[{"id":"1","grams":` + number + `.5}]`,
		"a string for a number":  `[{"id":"1","grams":"Kowalski"}]`,
		"a word without quotes":  `[{"id":"1","recipient":Kowalski}]`,
		"a string instead of it": `["Kowalski"]`,
		"a string behind it":     `[]"Kowalski"`,
		"only a string":          `"Kowalski"`,
	}) {
		got := &ledger{}
		d := serve(t, intake.Config{Handle: got.take})
		a := d.post(t, strings.NewReader(text), -1)
		if a.status != http.StatusBadRequest {
			probe.Errorf(t, "intake.malformed", "A body with %s was answered with %v; want status 400.", name, a)
		}
		if strings.Contains(a.text, secret) || strings.Contains(a.text, number) {
			probe.Errorf(t, "intake.echo", "A body with %s was answered with %v: that quotes the body.", name, a)
		}
	}
}

func TestReview_RefusedOrderIs503(t *testing.T) {
	for name, refusal := range sorted(map[string]error{
		"a plain error":           errors.New("pq: 10.0.0.7 is in recovery"),
		"a time-out of its own":   fmt.Errorf("pq: 10.0.0.7: %w", os.ErrDeadlineExceeded),
		"io.EOF":                  io.EOF,
		"io.ErrUnexpectedEOF":     io.ErrUnexpectedEOF,
		"an http.MaxBytesError":   fmt.Errorf("store: %w", &http.MaxBytesError{Limit: 10}),
		"the end of its context":  context.DeadlineExceeded,
		"a cancel of its context": context.Canceled,
	}) {
		got := &ledger{}
		var after atomic.Int64
		d := serve(t, intake.Config{Handle: func(ctx context.Context, o dispatch.Order) error {
			if got.count() == 3 {
				after.Add(1)
				return refusal
			}
			return got.take(ctx, o)
		}})
		a := d.post(t, streamOf(50), -1)
		if a.status != http.StatusServiceUnavailable || a.Accepted != 3 {
			probe.Errorf(t, "intake.refused", "Handle took 3 orders and refused the fourth with %s; the answer was %v; want status 503 and 3 accepted.", name, a)
		}
		if n := after.Load(); n != 1 {
			probe.Errorf(t, "intake.refused", "Handle refused an order with %s and was called %d times more.", name, n-1)
		}
		if strings.Contains(a.text, "10.0.0.7") {
			probe.Errorf(t, "intake.echo", "Handle refused an order, and the answer %v quotes its error.", a)
		}
	}
}

func TestReview_OneOrderIsBounded(t *testing.T) {
	const limit = 8 << 10
	fit := func(size int) string { // an order of that many bytes
		empty := `{"id":"x","address":""}`
		return `{"id":"x","address":"` + strings.Repeat("a", size-len(empty)) + `"}`
	}
	accept := func(context.Context, dispatch.Order) error { return nil }
	for _, text := range []string{
		"[" + fit(limit) + "," + fit(limit) + "]",
		"[\n  " + fit(limit) + ",\n  " + fit(limit) + ",\n  " + fit(40) + "\n]\n",
		"[" + fit(100) + "," + fit(limit) + " , " + fit(100) + "," + fit(limit-1) + "]",
	} {
		d := serve(t, intake.Config{Handle: accept, MaxOrder: limit})
		if a := d.post(t, strings.NewReader(text), -1); a.status != http.StatusOK {
			probe.Errorf(t, "intake.order_size", "Orders of no more than MaxOrder, %d bytes, were answered with %v; want status 200.", limit, a)
		}
	}
	for _, text := range []string{
		"[" + fit(2*limit+limit/4) + "]",
		"[" + fit(100) + "," + fit(limit) + "," + fit(3*limit) + "," + fit(100) + "]",
	} {
		d := serve(t, intake.Config{Handle: accept, MaxOrder: limit})
		if a := d.post(t, strings.NewReader(text), -1); a.status != http.StatusRequestEntityTooLarge {
			probe.Errorf(t, "intake.order_size", "An order of more than twice MaxOrder, which is %d bytes, was answered with %v; want status 413.", limit, a)
		}
	}
}

// Bodies that are one order, or none at all. The heap is weighed by the client,
// each time it has sent another 512 KiB.
func TestReview_HeapStaysSmallWhateverTheBodyIs(t *testing.T) {
	probe.NeedsPlainHeap(t)
	const size = 4 << 20
	for _, c := range []struct {
		name, code, before, unit, after string
		status                          int // 0: a full answer is right as well as a refusal
	}{
		{"one order of 4 MiB", "intake.order_size", `[{"id":"x","address":"`, "a", `"}]`, http.StatusRequestEntityTooLarge},
		{"a name of 4 MiB", "intake.order_size", `[{"id":"x","`, "a", `":1}]`, http.StatusRequestEntityTooLarge},
		{"a string of 4 MiB instead of the array", "intake.unbounded", `"`, "a", `"`, 0},
		{"4 MiB of blanks before the array", "intake.unbounded", ``, " ", `[{"id":"x"}]`, 0},
		{"4 MiB of blanks before the first order", "intake.unbounded", `[`, "\t", `{"id":"x"}]`, 0},
		{"4 MiB of blanks before a comma", "intake.unbounded", `[{"id":"x"}`, "\n", `,{"id":"y"}]`, 0},
		{"4 MiB of blanks after a comma", "intake.unbounded", `[{"id":"x"},`, " ", `{"id":"y"}]`, 0},
		{"4 MiB of blanks in an order", "intake.unbounded", `[{"id":`, " ", `"y"}]`, 0},
		{"4 MiB of blanks after the array", "intake.unbounded", `[{"id":"x"}]`, " ", ``, 0},
	} {
		d := serve(t, intake.Config{Handle: func(context.Context, dispatch.Order) error { return nil }})
		d.post(t, strings.NewReader("[]"), 2)
		body := &weighed{parts: []io.Reader{strings.NewReader(c.before), io.LimitReader(&repeated{c.unit[0]}, size), strings.NewReader(c.after)}}
		before := liveHeap()
		a := d.post(t, body, -1)
		growth := body.peak.Load() - min(before, body.peak.Load())
		if !probe.AtMost(t, "live heap added by "+c.name, growth, heapLimit, "B") {
			probe.Errorf(t, c.code, "While a body with %s came in, the live heap grew by %s; at most %s may be held.", c.name, probe.Bytes(growth), probe.Bytes(heapLimit))
		}
		if c.status != 0 && a.status != c.status {
			probe.Errorf(t, c.code, "A body with %s was answered with %v; want status %d.", c.name, a, c.status)
		}
	}
}

func TestReview_BodyLimitIsExact(t *testing.T) {
	text := "[" + order(0) + "," + order(1) + "]"
	for name, c := range sorted(map[string]struct {
		over   int
		blanks int
		want   int
	}{
		"just at the limit":                   {0, 0, http.StatusOK},
		"at the limit with blanks at its end": {0, 100, http.StatusOK},
		"one blank over the limit":            {1, 1, http.StatusRequestEntityTooLarge},
		"100 blanks over the limit":           {100, 100, http.StatusRequestEntityTooLarge},
		"1 MiB of blanks over the limit":      {1 << 20, 1 << 20, http.StatusRequestEntityTooLarge},
		"one byte over the limit":             {1, 0, http.StatusRequestEntityTooLarge},
	}) {
		body := text + strings.Repeat(" ", c.blanks)
		for _, length := range []int64{-1, int64(len(body))} {
			got := &ledger{}
			d := serve(t, intake.Config{Handle: got.take, MaxBody: int64(len(body) - c.over)})
			a := d.post(t, strings.NewReader(body), length)
			if a.status != c.want {
				probe.Errorf(t, "intake.too_large", "A body %s was answered with %v; want status %d.", name, a, c.want)
				break
			}
			got.check(t, a.Accepted)
		}
	}
}

// Two bodies arrive at once, 64 orders of the one and 64 of the other in turn.
func TestReview_TwoBodiesAtOnce(t *testing.T) {
	const rounds, each = 3, 64
	ledgers := map[string]*ledger{"a": {}, "b": {}}
	arrived := make(chan string, 2*rounds*each)
	d := serve(t, intake.Config{Handle: func(ctx context.Context, o dispatch.Order) error {
		name, id, _ := strings.Cut(o.ID, "/")
		l := ledgers[name]
		if l == nil {
			l = ledgers["a"]
		}
		o.ID = id
		arrived <- name
		return l.take(ctx, o)
	}})
	clients := map[string]*io.PipeWriter{}
	streams := map[string]*stream{}
	answers := make(chan reply, 2)
	for name := range ledgers {
		body, client := io.Pipe()
		clients[name], streams[name] = client, streamOf(rounds*each)
		defer client.Close()
		go func() {
			r, err := d.try(t.Context(), "application/json", body, -1)
			body.Close()
			r.text += fmt.Sprint(err)
			answers <- r
		}()
	}
	for range rounds {
		for _, name := range []string{"a", "b"} {
			if !sendOrders(clients[name], prefixed{streams[name], name}, each) {
				probe.Fatalf(t, "intake.shared", "Two bodies arrive at once, and after %v no more is read of one of them.", soon)
			}
		}
		// Both are in the middle of their work before either goes on.
		select {
		case <-arrived:
		case <-time.After(soon):
			probe.Fatalf(t, "intake.shared", "Two bodies arrive at once, and after %v no order was handled.", soon)
		}
	}
	for _, c := range clients {
		c.Close()
	}
	for range clients {
		select {
		case a := <-answers:
			if a.status != http.StatusOK || a.Accepted != rounds*each {
				probe.Errorf(t, "intake.shared", "Two bodies of %d orders arrived at once, and one was answered with %v; want status 200 and all accepted.", rounds*each, a)
			}
		case <-time.After(soon):
			probe.Fatalf(t, "intake.shared", "Two bodies arrived at once, and %v after their end one had no answer.", soon)
		}
	}
	for _, l := range ledgers {
		if l.wrong != "" || l.count() != rounds*each {
			probe.Errorf(t, "intake.shared", "Two bodies of %d orders arrived at once; of one of them %d were handled. %s", rounds*each, l.count(), l.wrong)
		}
	}
}

const idle = 10 * time.Second // of the bubble's own time, which costs nothing

// A server that has answered reads on, to keep the connection. A client that has
// said how much it will send and falls silent must not keep the answer back.
func TestReview_SilentClientIsCut(t *testing.T) {
	for name, sent := range sorted(map[string]string{
		"nothing":             "",
		"half an order":       `[{"id":"o-0","depot":"Ul`,
		"an order":            `[{"id":"o-0"}`,
		"an array not closed": `[{"id":"o-0"},`,
	}) {
		for _, length := range []int{-1, 10_000} {
			said := map[bool]string{true: "with", false: "without"}[length >= 0] + " a Content-Length"
			bubbleWith(t, length, func(t *testing.T, c *wire) {
				c.send(sent)
				began := time.Now()
				r, ok := c.answer(10 * idle)
				took := time.Since(began)
				switch {
				case !ok:
					probe.Errorf(t, "intake.idle", "A client sent %s, %s, and then fell silent; the limit is %v, and after %v it had no answer.", name, said, idle, took)
				case took > 2*idle:
					probe.Errorf(t, "intake.idle", "A client sent %s, %s, and then fell silent; the limit is %v, and it was cut after %v.", name, said, idle, took)
				case r.status != http.StatusRequestTimeout:
					probe.Errorf(t, "intake.idle", "A client sent %s, %s, and then fell silent; it was answered with %v; want status 408.", name, said, r)
				}
			}, intake.Config{IdleTimeout: idle, Handle: func(context.Context, dispatch.Order) error { return nil }})
		}
	}
}

func TestReview_SlowClientIsNotCut(t *testing.T) {
	const orders, pause = 12, idle * 6 / 10
	bubble(t, func(t *testing.T, c *wire) {
		began := time.Now()
		c.send("[")
		for n := range orders {
			c.send(fmt.Sprintf(`{"id":"o-%d"}`, n))
			time.Sleep(pause)
			if n < orders-1 {
				c.send(",")
			}
		}
		c.send("]")
		c.end()
		r, ok := c.answer(10 * idle)
		if !ok || r.status != http.StatusOK || r.Accepted != orders {
			probe.Errorf(t, "intake.cut", "A client sent %d orders, one each %v, with a limit of %v for silence; after %v it was answered with %v; want status 200.",
				orders, pause, idle, time.Since(began), r)
		}
	}, intake.Config{IdleTimeout: idle, Handle: func(context.Context, dispatch.Order) error { return nil }})
}

// Never silent for long, and long over one order.
func TestReview_SlowOrderIsNotCut(t *testing.T) {
	for _, pauses := range [][]time.Duration{{idle * 6 / 10}, {idle * 4 / 10, idle * 8 / 10}} {
		slowOrder(t, pauses)
	}
}

func slowOrder(t *testing.T, pauses []time.Duration) {
	parts := []string{`[`, `{"id":`, `"o-0"`, `,"depot":`, `"Ulm"`, `,"recipient":`, `"J. Kowalski"`, `}`, ` `, `]`}
	bubble(t, func(t *testing.T, c *wire) {
		began := time.Now()
		for i, p := range parts {
			c.send(p)
			time.Sleep(pauses[i%len(pauses)])
		}
		c.end()
		r, ok := c.answer(10 * idle)
		if !ok || r.status != http.StatusOK || r.Accepted != 1 {
			probe.Errorf(t, "intake.cut", "A client sent one order in %d parts, with pauses of %v, and a limit of %v for silence; after %v it was answered with %v; want status 200.",
				len(parts), pauses, idle, time.Since(began), r)
		}
	}, intake.Config{IdleTimeout: idle, Handle: func(context.Context, dispatch.Order) error { return nil }})
}

// An answer does not wait for the rest of a body that never comes.
func TestReview_AnswerWaitsForNoRest(t *testing.T) {
	for name, c := range sorted(map[string]struct {
		text   string
		status int
	}{
		"one order, which Handle refused": {`[{"id":"o-0"},`, http.StatusServiceUnavailable},
		"something that is no order":      {`[{"id":5},`, http.StatusBadRequest},
	}) {
		for _, length := range []int{-1, 4000} {
			bubbleWith(t, length, func(t *testing.T, w *wire) {
				w.send(c.text)
				if r, ok := w.answer(3 * idle); !ok || r.status != c.status {
					probe.Errorf(t, "intake.stuck", "A client sent %s, nothing more, and kept its connection open; %v later it was answered with %v; want status %d.", name, 3*idle, r, c.status)
				}
			}, intake.Config{IdleTimeout: idle, Handle: func(context.Context, dispatch.Order) error { return errors.New("no") }})
		}
	}
}

// What comes behind an order, or does not come, is not that order's fault.
func TestReview_LaterTroubleSparesEarlierOrders(t *testing.T) {
	for name, c := range sorted(map[string]struct {
		tail   string
		status int
	}{
		"malformed":       {`,{"id":4}]`, http.StatusBadRequest},
		"an order and ]]": {`,{"id":"o-3"}]]`, http.StatusBadRequest},
		"silence":         {``, http.StatusRequestTimeout},
	}) {
		var handled, ended atomic.Int64
		bubble(t, func(t *testing.T, w *wire) {
			w.send(`[{"id":"o-0"},{"id":"o-1"},{"id":"o-2"}` + c.tail)
			if c.tail != "" {
				w.end()
			}
			r, ok := w.answer(100 * idle)
			if n := ended.Load(); n > 0 {
				probe.Errorf(t, "intake.context", "Behind three good orders came %s, and the context of %d orders ended while Handle was at work on them, though the client was there.", name, n)
			}
			if !ok || r.status != c.status || int64(r.Accepted) != handled.Load() || handled.Load() < 3 {
				probe.Errorf(t, "intake.accepted", "Behind three good orders came %s. Handle, which takes %v, took %d orders, and the answer was %v; want status %d and all that came before.", name, 3*idle, handled.Load(), r, c.status)
			}
		}, intake.Config{IdleTimeout: idle, Handle: func(ctx context.Context, _ dispatch.Order) error {
			select {
			case <-time.After(3 * idle):
				handled.Add(1)
				return nil
			case <-ctx.Done():
				ended.Add(1)
				return ctx.Err()
			}
		}})
	}
}

// The time that Handle takes is not the client's.
func TestReview_SlowHandleCutsNobody(t *testing.T) {
	const orders, pause = 6, 3 * idle
	var ended, running, together atomic.Int64
	bubble(t, func(t *testing.T, c *wire) {
		c.send("[")
		for n := range orders {
			c.send(fmt.Sprintf(`{"id":"o-%d"}`, n))
			if n < orders-1 {
				c.send(",")
			}
		}
		c.send("]")
		c.end()
		r, ok := c.answer(10 * orders * pause)
		if !ok || r.status != http.StatusOK || r.Accepted != orders {
			probe.Errorf(t, "intake.cut", "Handle took %v for each of %d orders, with a limit of %v for the client's silence; the answer was %v; want status 200.", pause, orders, idle, r)
		}
		if n := together.Load(); n > 1 {
			probe.Errorf(t, "intake.orders", "Handle was called while it was at work on another order of the same body: %d calls at once.", n)
		}
		if n := ended.Load(); n > 0 {
			probe.Errorf(t, "intake.cut", "Handle took %v for each of %d orders, and the context of %d of them ended meanwhile, though the client was there.", pause, orders, n)
		}
	}, intake.Config{IdleTimeout: idle, Handle: func(ctx context.Context, _ dispatch.Order) error {
		together.Store(max(together.Load(), running.Add(1)))
		defer running.Add(-1)
		time.Sleep(pause)
		if ctx.Err() != nil {
			ended.Add(1)
		}
		return nil
	}})
}

// A wire is a client's end of a connection to a server in the same bubble.
type wire struct {
	conn    net.Conn
	chunked bool
	answers chan reply
}

// bubble runs f with a server whose clocks and sockets are those of a bubble:
// no second of it is a real one.
func bubble(t *testing.T, f func(*testing.T, *wire), cfg intake.Config) {
	t.Helper()
	bubbleWith(t, -1, f, cfg)
}

// bubbleWith says how long the body will be, where length is not -1.
func bubbleWith(t *testing.T, length int, f func(*testing.T, *wire), cfg intake.Config) {
	t.Helper()
	probe.Bubble(t, "intake.leak", 10*idle, func(t *testing.T) {
		client, server := net.Pipe()
		ln := &single{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
		ln.conn <- server
		srv := &http.Server{Handler: intake.New(cfg)}
		go srv.Serve(ln)
		c := &wire{conn: client, chunked: length < 0, answers: make(chan reply, 1)}
		go func() {
			defer close(c.answers)
			resp, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil {
				return
			}
			text, _ := io.ReadAll(resp.Body)
			r := reply{status: resp.StatusCode, text: string(text)}
			_, _ = fmt.Sscanf(string(text), `{"accepted":%d`, &r.Accepted)
			c.answers <- r
		}()
		defer srv.Close()
		defer client.Close()
		framing := "Transfer-Encoding: chunked"
		if length >= 0 {
			framing = fmt.Sprint("Content-Length: ", length)
		}
		fmt.Fprintf(client, "POST %s HTTP/1.1\r\nHost: dispatchd\r\nContent-Type: application/json\r\n%s\r\n\r\n", intake.Path, framing)
		f(t, c)
	})
}

// send sends a part of the body. It gives up when the server does not read on.
func (w *wire) send(text string) {
	if text == "" {
		return
	}
	_ = w.conn.SetWriteDeadline(time.Now().Add(20 * idle))
	if w.chunked {
		text = fmt.Sprintf("%x\r\n%s\r\n", len(text), text)
	}
	_, _ = io.WriteString(w.conn, text)
}

func (w *wire) end() { fmt.Fprint(w.conn, "0\r\n\r\n") }

func (w *wire) answer(limit time.Duration) (reply, bool) {
	select {
	case r, ok := <-w.answers:
		return r, ok
	case <-time.After(limit):
		return reply{}, false
	}
}

// single is a listener with one connection.
type single struct {
	conn   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (s *single) Accept() (net.Conn, error) {
	select {
	case c := <-s.conn:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *single) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *single) Addr() net.Addr { return &net.TCPAddr{} }

// sendOrders writes the next n orders of a stream, and reports whether that
// came to an end. The test's end closes w, and so ends it in any case.
func sendOrders(w io.Writer, r io.Reader, n int) bool {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.CopyN(w, r, int64(n*orderSize))
	}()
	select {
	case <-sent:
		return true
	case <-time.After(soon):
		return false
	}
}

// prefixed marks the orders of a stream as one depot's. The mark takes the
// place of blanks, so that an order keeps its size.
type prefixed struct {
	*stream
	name string
}

func (p prefixed) Read(b []byte) (int, error) {
	if len(p.rest) == 0 && p.made < p.orders {
		next := string(p.next())
		next = strings.Replace(next, `"id":"`, `"id":"`+p.name+"/", 1)
		next = strings.Replace(next, "}  ", "}", 1)
		p.rest = append(p.buf[:0], next...)
		p.made++
	}
	return p.stream.Read(b)
}

// repeated is one byte, for ever.
type repeated struct{ b byte }

func (r *repeated) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.b
	}
	return len(p), nil
}

// weighed is a body that weighs the heap each time 512 KiB of it were sent,
// and at its end.
type weighed struct {
	parts []io.Reader
	sent  int
	peak  atomic.Uint64
}

func (w *weighed) Read(p []byte) (int, error) {
	const step = 512 << 10
	for len(w.parts) > 0 {
		n, err := w.parts[0].Read(p)
		if n > 0 {
			if w.sent/step != (w.sent+n)/step {
				w.weigh()
			}
			w.sent += n
			return n, nil
		}
		if err != nil {
			w.parts = w.parts[1:]
		}
	}
	w.weigh()
	return 0, io.EOF
}

func (w *weighed) weigh() { w.peak.Store(max(w.peak.Load(), liveHeap())) }
