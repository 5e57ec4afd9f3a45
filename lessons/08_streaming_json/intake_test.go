package intake_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pitstop/checker/probe"
	intake "pitstop/lessons/08_streaming_json"
	"pitstop/lessons/dispatch"
)

const (
	heapLimit = 2 << 20 // what a request may add to the live heap
)

func TestIntake_HandlesEveryOrder(t *testing.T) {
	got := &ledger{}
	d := serve(t, intake.Config{Handle: got.take})
	a := d.post(t, streamOf(1000), -1)
	if a.status != http.StatusOK || a.Accepted != 1000 || a.Error != "" {
		probe.Errorf(t, "intake.answer", "A body of 1000 orders was answered with %v; want status 200 and 1000 accepted.", a)
	}
	got.check(t, 1000)

	empty := d.post(t, strings.NewReader("[]"), 2)
	if empty.status != http.StatusOK || empty.Accepted != 0 {
		probe.Errorf(t, "intake.answer", "An empty array was answered with %v; want status 200 and 0 accepted.", empty)
	}
}

// TestIntake_HeapStaysSmall sends 32 MiB of orders. The body is made while it
// is sent, and Handle weighs the heap after a full collection, at eight orders
// spread over the body.
func TestIntake_HeapStaysSmall(t *testing.T) {
	probe.NeedsPlainHeap(t)
	const size = 32 << 20
	body := streamOf(size / orderSize)
	var before, peak uint64
	got := &ledger{}
	d := serve(t, intake.Config{
		MaxBody: 2 * size,
		Handle: func(ctx context.Context, o dispatch.Order) error {
			if got.count()%(body.orders/8) == 0 {
				peak = max(peak, liveHeap())
			}
			return got.take(ctx, o)
		},
	})
	d.post(t, streamOf(1), -1) // what a first request sets up stays
	*got = ledger{}
	before, peak = liveHeap(), 0

	a := d.post(t, body, -1)
	growth := peak - min(before, peak)
	if !probe.AtMost(t, "live heap added by a body of 32 MiB", growth, heapLimit, "B") {
		probe.Errorf(t, "intake.heap", "While a body of %s came in, the live heap grew by %s; at most %s may be held, however long the body is.",
			probe.Bytes(size), probe.Bytes(growth), probe.Bytes(heapLimit))
	}
	if a.status != http.StatusOK || a.Accepted != body.orders {
		probe.Errorf(t, "intake.answer", "A body of %d orders was answered with %v; want status 200 and all accepted.", body.orders, a)
	}
	got.check(t, body.orders)
}

func TestIntake_TooLargeIs413(t *testing.T) {
	const limit, size = 1 << 20, 32 << 20
	const most = 4 * limit // the limit, what the sockets hold, and some more
	for name, declared := range sorted(map[string]int64{"declared": size, "undeclared": -1}) {
		t.Run(name, func(t *testing.T) {
			got := &ledger{}
			d := serve(t, intake.Config{Handle: got.take, MaxBody: limit})
			body := streamOf(size / orderSize)
			a := d.post(t, body, declared)
			if a.status != http.StatusRequestEntityTooLarge {
				probe.Errorf(t, "intake.too_large", "A body of %s (length %s) under a limit of %s was answered with %v; want status 413.",
					probe.Bytes(size), name, probe.Bytes(limit), a)
			}
			if sent := body.sent.Load(); !probe.AtMost(t, "sent before the 413, length "+name, sent, most, "B") {
				probe.Errorf(t, "intake.overread", "The limit is %s, and the client (length %s) had sent %s of its body before it was told so.",
					probe.Bytes(limit), name, probe.Bytes(sent))
			}
			got.check(t, a.Accepted)
		})
	}
}

func TestIntake_MalformedIs400(t *testing.T) {
	for name, text := range sorted(map[string]string{
		"nothing":            ``,
		"no JSON":            `orders, see attachment`,
		"an object":          `{"id":"1"}`,
		"not closed":         `[` + order(0) + `,` + order(1),
		"a missing comma":    `[` + order(0) + ` ` + order(1) + `]`,
		"a number as id":     `[` + order(0) + `,{"id":1}]`,
		"an array of arrays": `[[]]`,
		"no id":              `[` + order(0) + `,{"depot":"Ulm"}]`,
	}) {
		got := &ledger{}
		d := serve(t, intake.Config{Handle: got.take})
		a := d.post(t, strings.NewReader(text), int64(len(text)))
		if a.status != http.StatusBadRequest {
			probe.Errorf(t, "intake.malformed", "A body with %s was answered with %v; want status 400.", name, a)
		}
		got.check(t, a.Accepted)
	}
}

// ledger remembers which orders were handled.
type ledger struct {
	mu    sync.Mutex
	n     int
	wrong string
}

func (l *ledger) take(_ context.Context, o dispatch.Order) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if want := orderOf(l.n); o != want && l.wrong == "" {
		l.wrong = fmt.Sprintf("order %d of the body is %q in %q, and Handle got %q in %q", l.n, want.ID, want.Depot, o.ID, o.Depot)
	}
	l.n++
	return nil
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// check fails the test unless the first n orders of the body, and no others,
// were handled.
func (l *ledger) check(t *testing.T, n int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.wrong != "":
		probe.Errorf(t, "intake.orders", "Orders were not handed on as they came: %s.", l.wrong)
	case l.n != n:
		probe.Errorf(t, "intake.accepted", "The answer says that %d orders were accepted, and Handle was called for %d.", n, l.n)
	}
}

// An order of the test has about 4 KiB, most of it the way to the door.
const orderSize = 4 << 10

var way = strings.Repeat("Hinterhof, 2. Treppe links, bitte klingeln. ", orderSize/44-2)

func orderOf(n int) dispatch.Order {
	return dispatch.Order{ID: "o-" + strconv.Itoa(n), Depot: "Ulm", Recipient: "J. Kowalski", Address: way, Grams: n}
}

func order(n int) string {
	b, _ := json.Marshal(orderOf(n))
	return string(b)
}

// A stream is a body that is made while it is read, so that no one holds it:
// an array of orders, padded with blanks to orders*orderSize bytes.
type stream struct {
	orders int
	sent   atomic.Int64
	made   int
	rest   []byte
	buf    [orderSize]byte
}

func streamOf(orders int) *stream { return &stream{orders: orders} }

func (s *stream) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		if s.made == s.orders {
			return 0, io.EOF
		}
		s.rest = s.next()
		s.made++
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	s.sent.Add(int64(n))
	return n, nil
}

// next writes one order and what is around it.
func (s *stream) next() []byte {
	b := append(s.buf[:0], ' ')
	if s.made == 0 {
		b[0] = '['
	}
	b = fmt.Appendf(b, `{"id":"o-%d","depot":"Ulm","recipient":"J. Kowalski","address":"%s","grams":%d}`, s.made, way, s.made)
	for len(b) < orderSize-1 {
		b = append(b, ' ')
	}
	if s.made == s.orders-1 {
		return append(b, ']')
	}
	return append(b, ',')
}

// A desk is a server with the package behind it, on the loopback, and a client.
type desk struct {
	url    string
	client http.Client
	log    *journal
}

// serve starts a server. Its sockets and the client's hold little, so that
// what was sent is near to what was read.
func serve(t *testing.T, cfg intake.Config) *desk {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &desk{url: "http://" + ln.Addr().String(), log: &journal{}}
	srv := &http.Server{
		Handler:  intake.New(cfg),
		ErrorLog: log.New(d.log, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			_ = c.(*net.TCPConn).SetReadBuffer(64 << 10)
			return ctx
		},
	}
	go srv.Serve(ln)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			_ = c.(*net.TCPConn).SetWriteBuffer(64 << 10)
		}
		return c, err
	}}
	d.client.Transport = transport
	t.Cleanup(func() {
		srv.Close()
		transport.CloseIdleConnections()
	})
	return d
}

// reply is what the client got.
type reply struct {
	status int
	intake.Answer
	text string
}

func (r reply) String() string {
	return fmt.Sprintf("status %d and %q", r.status, strings.TrimSpace(r.text))
}

// patience is how long a POST may take. A body of many MiB on a busy machine
// takes its time.
var patience = probe.Patience{Full: 15 * time.Second, Short: 2 * time.Second}

// post sends a body, of unsaid length where length is -1.
func (d *desk) post(t *testing.T, body io.Reader, length int64) reply {
	t.Helper()
	return d.postAs(t, "application/json", body, length)
}

func (d *desk) postAs(t *testing.T, contentType string, body io.Reader, length int64) reply {
	t.Helper()
	limit := patience.Limit()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	r, err := d.try(ctx, contentType, body, length)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		patience.InVain()
		probe.Fatalf(t, "intake.stuck", "A POST had no answer after %v.", limit)
	case err != nil:
		probe.Fatalf(t, "intake.no_answer", "A POST ended without an answer: %v. The server says: %q.", err, d.log)
	}
	return r
}

func (d *desk) try(ctx context.Context, contentType string, body io.Reader, length int64) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url+intake.Path, io.NopCloser(body))
	if err != nil {
		return reply{}, err
	}
	req.ContentLength = length
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	r := reply{status: resp.StatusCode, text: string(text)}
	_ = json.Unmarshal(text, &r.Answer)
	return r, err
}

// journal keeps what the server logs.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

// String gives the first line.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	line, _, _ := strings.Cut(j.buf.String(), "\n")
	return line
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

// liveHeap collects and weighs what is left.
func liveHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
