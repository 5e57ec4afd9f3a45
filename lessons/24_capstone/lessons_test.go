package dispatchd_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pitstop/checker/probe"
	"pitstop/lessons/24_capstone/world"
	"pitstop/lessons/dispatch"
)

// Each test here looks at what one lesson is about, in the running service.
// The code of a finding says which: lesson04 is mended in lessons/04_pipeline.

// patience is how long a test waits for what a broken service never does.
const patience = 3 * time.Second

var hang = world.Fault{Hang: true}

func order(i int) dispatch.Order {
	return dispatch.Order{ID: fmt.Sprintf("o-%d", i), Depot: "north", Recipient: "r", Address: "Mill Lane 7", Grams: 500}
}

func TestLesson01_Pool(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.planned()
	s.world.Set("notify", hang)
	n := int(4 * s.plan.workers)
	require.Equal(t, n, with(each(n, func(i int) reply { return s.post("/routes", order(i)) }), 201), "routes planned")
	// All of them have left a task. It shows soon if more of them run than may.
	probe.Poll(patience, func() bool { return s.world.Count("notify").Peak > int(s.plan.workers) })
	peak := s.world.Count("notify").Peak
	if !probe.AtMost(t, "writes to a slow database at once", peak, s.plan.workers, "writes") {
		probe.Errorf(t, "lesson01.unbounded", "%d orders left %d writes to a database that is slow, all at once; the pool has %d workers (lesson 01).", n, peak, s.plan.workers)
	}
}

func TestLesson02_Scanners(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.world.Set("scan", hang)
	const scanners = 8
	var conns []net.Conn
	for i := range scanners {
		c, err := net.Dial("tcp", s.scan)
		require.NoError(t, err)
		conns = append(conns, c)
		_, err = fmt.Fprintf(c, "t%d parcel-%d\n", i, i)
		require.NoError(t, err)
	}
	require.True(t, probe.Poll(limit, func() bool { return s.world.Count("scan").Now == scanners }), "queries begin")
	for _, c := range conns {
		c.Close()
	}
	probe.Poll(patience, func() bool { return s.world.Count("scan").Now == 0 })
	if now := s.world.Count("scan").Now; !probe.AtMost(t, "queries left behind by scanners that hung up", now, 0, "queries") {
		probe.Errorf(t, "lesson02.orphans", "%d scanners asked something and hung up, and %d of their queries still run (lesson 02).", scanners, now)
	}
}

func TestLesson03_Shutdown(t *testing.T) {
	t.Parallel()
	s := start(t, "DRAIN=2s") // long enough to be asked in it on any machine
	s.world.Set("position", hang)
	const inFlight = 8
	answers := make(chan []reply)
	go func() {
		answers <- each(inFlight, func(i int) reply { return s.get(fmt.Sprintf("/couriers/c-%d", i)) })
	}()
	require.True(t, probe.Poll(limit, func() bool { return s.world.Count("position").Now == inFlight }), "requests are under way")
	require.NoError(t, s.Signal(syscall.SIGTERM))
	turned := false
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: limit}
	ask(limit, func() bool {
		resp, err := fresh.Get(s.http + "/health/ready")
		if err != nil {
			return true // it takes no new connections any more
		}
		defer resp.Body.Close()
		turned = turned || resp.StatusCode == 503
		return false
	})
	if !turned {
		probe.Errorf(t, "lesson03.ready", "after SIGTERM, /health/ready never said 503 before the port closed: the Service sends orders to the end (lesson 03).")
	}
	// The requests end late, but they end. Who exits meanwhile takes them along.
	probe.Poll(time.Second, func() bool { return !s.Running() })
	s.world.Set("position", world.Fault{})
	got := with(<-answers, 200)
	if !probe.AtMost(t, "requests lost at SIGTERM", inFlight-got, 0, "requests") {
		probe.Errorf(t, "lesson03.lost", "%d requests were under way at SIGTERM, and %d of them got no answer (lesson 03).", inFlight, inFlight-got)
	}
}

func TestLesson04_Events(t *testing.T) {
	t.Parallel()
	s := start(t)
	send := func(kind string, n int) {
		each(n, func(i int) reply {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			return s.call(ctx, "POST", s.http+"/events", dispatch.Event{ID: fmt.Sprintf("%s-%d", kind, i), Order: "o-1", Kind: kind})
		})
	}
	const bad, good = 6, 20
	send("lost", bad) // a kind that the code does not know
	send("delivered", good)
	probe.Poll(patience, func() bool { return len(s.world.Kept("notice")) >= good })
	if n := len(s.world.Kept("notice")); !probe.Equal(t, "notices for events after a bad one", n, good, "notices") {
		probe.Errorf(t, "lesson04.stuck", "%d events of a kind that panics came first, and of the %d good ones after them %d became a notice (lesson 04).", bad, good, n)
	}
}

func TestLesson05_Settings(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.world.Set("depot_1", hang)
	const changes = 8
	taken := 0
	for i := range changes {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if s.call(ctx, "PUT", s.ops+"/settings", map[string]any{"notice": fmt.Sprintf("n-%d", i+1), "late": i + 1}).code == 204 {
			taken++
		}
		cancel()
		if taken <= i {
			break // it would wait as long for each of the others
		}
	}
	newest := func() string { return string(s.world.Kept("depot")["depot_3"]) }
	probe.Poll(patience, func() bool { return strings.Contains(newest(), fmt.Sprintf("n-%d", changes)) })
	probe.Equal(t, "settings taken while one depot is deaf", taken, changes, "settings")
	if taken < changes || !strings.Contains(newest(), fmt.Sprintf("n-%d", changes)) {
		probe.Errorf(t, "lesson05.blocked", "depot 1 does not answer: of %d settings that were sent %d were taken, and depot 3 has %s (lesson 05).", changes, taken, newest())
	}
}

func TestLesson06_Positions(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.world.Set("position", hang)
	const callers = 40
	answers := make(chan []reply)
	go func() { answers <- each(callers, func(int) reply { return s.get("/couriers/c-1") }) }()
	probe.Poll(patience/2, func() bool { return s.world.Count("position").Began == callers })
	s.world.Set("position", world.Fault{})
	require.Equal(t, callers, with(<-answers, 200), "callers with an answer")
	if n := s.world.Count("position").Began; !probe.AtMost(t, "loads for 40 callers", n, 2, "loads") {
		probe.Errorf(t, "lesson06.herd", "%d callers asked for the same courier at once, and the database was asked %d times (lesson 06).", callers, n)
	}

	// What is loaded is older than what the phone reports meanwhile.
	s.world.Set("position", hang)
	go func() { answers <- []reply{s.get("/couriers/c-2")} }()
	require.True(t, probe.Poll(limit, func() bool { return s.world.Count("position").Now == 1 }), "a load begins")
	newer := dispatch.Position{Courier: "c-2", Lat: 7, Lon: 7, At: time.Unix(1_800_000_000, 0).UTC()}
	require.Equal(t, 204, s.post("/positions", newer).code)
	s.world.Set("position", world.Fault{})
	<-answers
	var now dispatch.Position
	require.NoError(t, json.Unmarshal([]byte(s.get("/couriers/c-2").body), &now))
	if now.Lat != newer.Lat {
		probe.Errorf(t, "lesson06.backwards", "a courier reported position %v while an older one was being loaded, and dispatchd now says %v (lesson 06).", newer.Lat, now.Lat)
	}
}

func TestLesson07_Labels(t *testing.T) {
	t.Parallel()
	s := start(t)
	const docs, size = 24, 1 << 20
	before := s.held(true).Heap
	for i := range docs {
		doc := make([]byte, size)
		copy(doc[size/2:], fmt.Sprintf("%%%%LABEL:PARCEL-%07dDEPOT-NORTH-GATE-4   ", i))
		require.Equal(t, 200, s.post("/labels", doc).code)
	}
	per := int64(s.held(true).Heap-before) / docs
	if !probe.AtMost(t, "retained for each label", max(per, 0), 32<<10, "bytes") {
		probe.Errorf(t, "lesson07.retained", "%d labels of 32 bytes were indexed, and each keeps %s of its document of %s alive (lesson 07).", docs, probe.Bytes(per), probe.Bytes(size))
	}
}

func TestLesson08_Intake(t *testing.T) {
	t.Parallel()
	s := start(t)
	w, done := s.stream("/orders")
	before := s.cap.Peak()
	one, err := json.Marshal(dispatch.Order{ID: "o-first", Address: strings.Repeat("x", 32<<10)})
	require.NoError(t, err)
	_, _ = fmt.Fprintf(w, "[%s", one)
	early := probe.Poll(patience, func() bool { return s.world.Count("store_order").Began > 0 })
	const more = 512
	for range more {
		if _, err := fmt.Fprintf(w, ",%s", one); err != nil {
			break
		}
	}
	_, _ = io.WriteString(w, "]")
	w.Close()
	if r := <-done; r.code != 200 {
		t.Fatalf("%d orders in one body: status %d, %v", more+1, r.code, r.err)
	}
	grown := s.cap.Peak() - before
	probe.Note(t, "memory for a body of 16 MiB", grown>>20, "MiB")
	if !early {
		probe.Errorf(t, "lesson08.waits", "the first order of a long body was not handled before the last had come, and the process grew by %s for a body of 16 MiB (lesson 08).", probe.Bytes(grown))
	}
}

func TestLesson08_HostileBody(t *testing.T) {
	t.Parallel()
	s := start(t)
	w, done := s.stream("/orders")
	_, _ = io.WriteString(w, `[{"id":"o-1","address":"`)
	const most = 48 << 20 // more than every buffer on the way holds
	taken, part := 0, []byte(strings.Repeat("x", 64<<10))
	for taken < most {
		n, err := w.Write(part)
		taken += n
		if err != nil {
			break
		}
	}
	w.Close()
	r := <-done
	if !probe.AtMost(t, "taken of an order without an end", taken, 16<<20, "bytes") {
		probe.Errorf(t, "lesson08.endless", "an order may have 64 KiB; of one without an end %s were taken before it was refused, with status %d (lesson 08).", probe.Bytes(taken), r.code)
	}
}

func TestLesson09_Memory(t *testing.T) {
	t.Parallel()
	const contained = 96 << 20
	s := start(t, container(t, contained), "GOGC=25")
	cap := s.Cap(t, contained)
	photo := make([]byte, 1<<20)
	for i := range photo {
		photo[i] = byte(i)
	}
	kept := 0
	for i := range 200 {
		if s.call(t.Context(), "PUT", s.http+fmt.Sprintf("/photos/p-%d", i), photo).code != 204 {
			break
		}
		kept++
	}
	probe.AtMost(t, "memory at its peak in a container of 96 MiB", cap.Peak(), contained, "bytes")
	if cap.Killed() {
		probe.Errorf(t, "lesson09.killed", "in a container of 96 MiB, dispatchd was killed for memory after %d pictures of 1 MiB: its cache knows no limit (lesson 09).", kept)
	} else if kept < 200 {
		t.Fatalf("picture %d was refused", kept)
	}
}

func TestLesson10_Report(t *testing.T) {
	t.Parallel()
	s := start(t)
	cost := func(rows int) (allocated, size int64) {
		s.world.SetDelivered(rows)
		s.call(t.Context(), "GET", s.ops+"/report", nil)
		before := s.held(false).Allocated
		r := s.call(t.Context(), "GET", s.ops+"/report", nil)
		require.Equal(t, 200, r.code)
		return int64(s.held(false).Allocated - before), int64(len(r.body))
	}
	a, size := cost(2000)
	times := float64(a) / float64(size)
	if !probe.AtMost(t, "allocated for a report, in sizes of the report", times, 60, "") {
		probe.Errorf(t, "lesson10.copies", "a report of %s took %s of allocations, %.0f times its size (lesson 10).", probe.Bytes(size), probe.Bytes(a), times)
	}
}

func TestLesson11_Board(t *testing.T) {
	t.Parallel()
	s := start(t)
	for i := range 60 {
		require.Equal(t, 204, s.post("/positions", dispatch.Position{Courier: fmt.Sprintf("c-%d", i), Lat: 1, Lon: 2, At: time.Unix(1_800_000_000, 0).UTC()}).code)
	}
	objects := func(path string) float64 {
		const n = 30
		s.get(path)
		before := s.held(false).Mallocs
		for range n {
			require.Equal(t, 200, s.get(path).code)
		}
		return float64(s.held(false).Mallocs-before) / n
	}
	per := objects("/board") - objects("/quotes?zone=Z1&grams=500")
	if !probe.AtMost(t, "objects for a board of 60 couriers, beside the request", max(per, 0), 100, "") {
		probe.Errorf(t, "lesson11.slow", "each board of 60 couriers allocates %.0f objects more than a quote does (lesson 11).", per)
	}

	notice := `gate 4", "late": 999, "x": "`
	require.Equal(t, 204, s.call(t.Context(), "PUT", s.ops+"/settings", map[string]any{"notice": notice, "late": 3}).code)
	var got struct {
		Notice string
		Late   int
	}
	ask(patience, func() bool {
		body := s.get("/board").body
		return json.Unmarshal([]byte(body), &got) == nil && got.Notice == notice || strings.Contains(body, `"late": 999`)
	})
	if got.Notice != notice || got.Late != 3 {
		probe.Errorf(t, "lesson11.injection", "a notice with quotation marks in it changed the board: 3 late parcels became %d, and the notice %q (lesson 11).", got.Late, got.Notice)
	}
}

func TestLesson12_Prices(t *testing.T) {
	t.Parallel()
	s := start(t)
	quote := func() (cents struct{ Cents int64 }) {
		require.NoError(t, json.Unmarshal([]byte(s.get("/quotes?zone=Z1&grams=500").body), &cents))
		return cents
	}
	before := quote().Cents
	require.Equal(t, 200, s.call(t.Context(), "POST", s.ops+"/discounts", map[string]any{"region": "north", "percent": 50}).code)
	after := quote().Cents
	if !probe.Equal(t, "price after a discount of 50 %", after, before/2, "cents") {
		probe.Errorf(t, "lesson12.lost", "a discount of 50 %% was given, and a parcel of %d cents costs %d (lesson 12).", before, after)
	}
}

func TestLesson13_Log(t *testing.T) {
	t.Parallel()
	s := start(t)
	const bookings, number = 6, "4111111111111111"
	for i := range bookings {
		req := map[string]any{"id": fmt.Sprintf("find-%d", i), "address": "Mill Lane 7", "recipient": "r", "card": map[string]string{"number": number, "cvc": "123"}}
		require.Equal(t, 201, s.post("/bookings", req).code)
	}
	found, secrets := map[string]bool{}, 0
	look := func() bool {
		found, secrets = map[string]bool{}, 0
		for line := range strings.Lines(s.Output()) {
			if strings.Contains(line, number) {
				secrets++
			}
			var entry struct {
				Msg     string `json:"msg"`
				OrderID string `json:"orderID"`
			}
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg != "" && strings.HasPrefix(entry.OrderID, "find-") {
				found[entry.OrderID] = true
			}
		}
		return len(found) == bookings
	}
	ask(patience, look)
	probe.Equal(t, "bookings found in the log by their order", len(found), bookings, "bookings")
	probe.AtMost(t, "lines of the log with a card's number", secrets, 0, "lines")
	if len(found) < bookings || secrets > 0 {
		probe.Errorf(t, "lesson13.log", "of %d bookings %d can be found in the log by orderID, and %d lines hold the card's number (lesson 13).", bookings, len(found), secrets)
	}
}

func TestLesson14_Traces(t *testing.T) {
	t.Parallel()
	s := start(t)
	const routes, each = 4, 5
	traces := map[string]int{}
	for i := range routes {
		id := fmt.Sprintf("%032x", i+1)
		traces[id] = 0
		body, err := json.Marshal(order(i))
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), "POST", s.http+"/routes", strings.NewReader(string(body)))
		require.NoError(t, err)
		req.Header.Set("traceparent", "00-"+id+"-00000000000000aa-01")
		resp, err := s.client.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, 201, resp.StatusCode)
	}
	whole := func() (n int) {
		per := map[string]int{}
		for _, span := range s.world.Spans() {
			per[span.Trace]++
		}
		for id := range traces {
			if per[id] == each {
				n++
			}
		}
		return n
	}
	probe.Poll(patience, func() bool { return whole() == routes })
	if n := whole(); !probe.Equal(t, "whole traces", n, routes, "traces") {
		probe.Errorf(t, "lesson14.pieces", "%d requests came with a trace and should have left %d spans in each; %d did, and %d spans came in all (lesson 14).", routes, each, n, len(s.world.Spans()))
	}
}

func TestLesson15_Profiles(t *testing.T) {
	t.Parallel()
	s := start(t, "ENABLE_PPROF=true")
	open := 0
	for _, base := range []string{s.http, s.ops} {
		if s.call(t.Context(), "GET", base+"/debug/pprof/cmdline", nil).code == 200 {
			open++
		}
	}
	r := s.call(t.Context(), "GET", "http://"+s.port("admin")+"/debug/pprof/goroutine?debug=1", nil)
	require.Contains(t, r.body, "goroutine profile: total", "the admin port has the profiles")
	if !probe.AtMost(t, "public ports with profiles", open, 0, "ports") {
		probe.Errorf(t, "lesson15.public", "the operators' port, which is open in the whole cluster, hands out profiles and the command line (lesson 15).")
	}
}

func TestLesson16_Switches(t *testing.T) {
	t.Parallel()
	s := launch(t, "DEBUG_LEVEL=loud")
	probe.Poll(patience, func() bool { return !s.Running() })
	if s.Running() {
		probe.Errorf(t, "lesson16.unknown", "dispatchd starts with DEBUG_LEVEL=loud, and nobody learns that this means nothing (lesson 16).")
	}
	s = start(t, "LOG_HTTP_REQUESTS=true")
	if r := s.post("/orders", []dispatch.Order{order(1)}); r.code != 200 {
		probe.Errorf(t, "lesson16.hidden", "with LOG_HTTP_REQUESTS=true, POST /orders answers %d: %s; without, 200 (lesson 16).", r.code, strings.TrimSpace(r.body))
	}
}

func TestLesson17_Addresses(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.world.Set("geo", world.Fault{Status: 500})
	const orders = 8
	booked := with(each(orders, func(i int) reply {
		return s.post("/bookings", map[string]any{"id": fmt.Sprintf("o-%d", i), "address": fmt.Sprintf("Mill Lane %d", i)})
	}), 201)
	if !probe.AtMost(t, "orders sent to no place", booked, 0, "orders") {
		probe.Errorf(t, "lesson17.nowhere", "the address service answered 500 to everything, and %d of %d orders were booked all the same, to latitude 0, longitude 0 (lesson 17).", booked, orders)
	}
}

func TestLesson20_Cards(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.world.Set("customer", hang)
	ctx, leave := context.WithCancel(t.Context())
	const callers = 8
	var wg sync.WaitGroup
	wg.Go(func() {
		each(callers, func(i int) reply { return s.call(ctx, "GET", s.http+fmt.Sprintf("/cards/o-%d", i), nil) })
	})
	require.True(t, probe.Poll(limit, func() bool { return s.world.Count("customer").Now == callers }), "calls begin")
	leave()
	wg.Wait()
	probe.Poll(patience, func() bool { return s.world.Count("customer").Now == 0 })
	if n := s.world.Count("customer").Now; !probe.AtMost(t, "calls for people who have left", n, 0, "calls") {
		probe.Errorf(t, "lesson20.detached", "%d people asked for a card and left, and %d calls to the customer service go on without them (lesson 20).", callers, n)
	}
}

func TestLesson21_Products(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.world.Set("primary", hang)
	const callers = 24
	began := time.Now()
	var inTime atomic.Int64
	each(callers, func(i int) reply {
		r := s.get(fmt.Sprintf("/products/p-%d", i))
		if r.code == 200 && time.Since(began) < 2*time.Second {
			inTime.Add(1)
		}
		return r
	})
	probe.Note(t, "answers within 2 s while the primary hangs", inTime.Load(), "answers")
	// All ask at once, so each may call once. After five failures it is left alone.
	calls := s.world.Count("primary").Began
	if !probe.AtMost(t, "calls of a primary that hangs, for 24 people", calls, 2*callers, "calls") {
		probe.Errorf(t, "lesson21.hammered", "the primary product service hangs, and for %d people it was called %d times, one call after the other, while they waited (lesson 21).", callers, calls)
	}
}

func TestLesson22_Health(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.world.Set("ping", world.Fault{Status: 500})
	ask(patience, func() bool { return s.get("/health/ready").code == 503 })
	if code := s.get("/health/live").code; !probe.Equal(t, "status of /health/live while the database is down", code, 200, "") {
		probe.Errorf(t, "lesson22.live", "the database is down, and /health/live answers %d: the kubelet restarts every pod (lesson 22).", code)
	}
}
