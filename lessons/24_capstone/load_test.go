package dispatchd_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	vegeta "github.com/tsenart/vegeta/v12/lib"

	"pitstop/checker/probe"
	"pitstop/lessons/24_capstone/world"
	"pitstop/lessons/dispatch"
)

// TestLoad is a bad minute for the whole service, in two seconds: depots and
// couriers at 300 requests a second, scanners that ask and vanish, some that
// never read, a product service that hangs, and a database that hangs for the
// scanners and is slow for the rest. It judges nothing. Its figures are what
// the mends are for: read them before and after.
func TestLoad(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.world.Set("primary", hang)
	s.world.Set("notify", world.Fault{Delay: 400 * time.Millisecond})
	s.world.Set("scan", hang)
	before := s.held(true)

	most := make(chan int)
	over := make(chan struct{})
	go func() {
		peak := 0
		for {
			select {
			case <-over:
				most <- peak
				return
			case <-time.After(20 * time.Millisecond):
				peak = max(peak, s.held(false).Goroutines)
			}
		}
	}()
	var stalled []net.Conn
	go func() {
		for i := range 60 {
			c, err := net.Dial("tcp", s.scan)
			if err != nil {
				return
			}
			if _, err := fmt.Fprintf(c, "t%d parcel-%d\n", i, i); err == nil && i%10 == 0 {
				stalled = append(stalled, c) // it never reads
				continue
			}
			time.Sleep(15 * time.Millisecond)
			c.Close()
		}
	}()

	var m vegeta.Metrics
	attack := vegeta.NewAttacker(vegeta.Client(&http.Client{Transport: s.client.Transport, Timeout: 5 * time.Second}))
	for r := range attack.Attack(s.requests(), vegeta.Rate{Freq: 300, Per: time.Second}, 2*time.Second, "load") {
		m.Add(r)
	}
	m.Close()
	close(over)
	peak := <-most
	during := s.held(false)

	// What is left when the load is over, and had time to go.
	// Idle connections are closed first, on both sides: they are no leak.
	s.outside.Config.SetKeepAlivesEnabled(false)
	s.client.CloseIdleConnections()
	for _, c := range stalled {
		c.Close()
	}
	after := s.held(true)
	ask(time.Second, func() bool {
		after = s.held(true)
		return after.Goroutines <= before.Goroutines
	})
	probe.Note(t, "load: goroutines at the peak", peak, "")
	probe.Note(t, "load: goroutines left after it", max(after.Goroutines-before.Goroutines, 0), "")
	probe.Note(t, "load: heap that stays", max(int64(after.Heap)-int64(before.Heap), 0)>>10, "KiB")
	probe.Note(t, "load: allocated for each request", (during.Allocated-before.Allocated)/max(m.Requests, 1)>>10, "KiB")
	probe.Note(t, "load: objects for each request", (during.Mallocs-before.Mallocs)/max(m.Requests, 1), "")
	probe.Note(t, "load: half of the answers within", m.Latencies.P50.Milliseconds(), "ms")
	probe.Note(t, "load: 99 of 100 within", m.Latencies.P99.Milliseconds(), "ms")
	probe.Note(t, "load: requests without a good answer", float64(m.Requests)*(1-m.Success), "")
	require.True(t, s.Running(), "dispatchd survives the load")
}

// TestLoad_Signal sends SIGTERM in the middle of a load that ends before the
// drain does, as it ends in a cluster. The last requests take half a second,
// because the primary hangs, and are under way when the port closes.
func TestLoad_Signal(t *testing.T) {
	t.Parallel()
	s := start(t, "DRAIN=1500ms")
	s.world.Set("primary", hang)
	asked, lost := 0, 0
	attack := vegeta.NewAttacker(vegeta.Client(&http.Client{Transport: s.client.Transport, Timeout: 5 * time.Second}))
	defer time.AfterFunc(400*time.Millisecond, func() { _ = s.Signal(syscall.SIGTERM) }).Stop()
	i := 0
	products := func(target *vegeta.Target) error {
		i++
		target.Method, target.URL = "GET", fmt.Sprintf("%s/products/q-%d", s.http, i)
		return nil
	}
	for r := range attack.Attack(products, vegeta.Rate{Freq: 100, Per: time.Second}, 1600*time.Millisecond, "signal") {
		if strings.Contains(r.Error, "refused") {
			continue // the machine is so slow that the drain was over
		}
		asked++
		if r.Code != 200 {
			lost++
		}
	}
	probe.Note(t, "load: requests around SIGTERM", asked, "")
	probe.Note(t, "load: of these without an answer", lost, "")
}

// requests is the mix of a busy hour.
func (s *service) requests() vegeta.Targeter {
	var n atomic.Int64
	doc := make([]byte, 256<<10)
	return func(target *vegeta.Target) error {
		i := n.Add(1)
		set := func(method, path string, body any) error {
			target.Method, target.URL = method, s.http+path
			target.Header = http.Header{"Content-Type": {"application/json"}}
			switch b := body.(type) {
			case nil:
			case []byte:
				target.Body = b
			default:
				j, err := json.Marshal(b)
				target.Body = j
				return err
			}
			return nil
		}
		switch i % 10 {
		case 0, 1:
			return set("GET", fmt.Sprintf("/products/p-%d", i), nil)
		case 2:
			return set("GET", fmt.Sprintf("/cards/o-%d", i), nil)
		case 3:
			return set("POST", "/routes", order(int(i)))
		case 4:
			return set("POST", "/bookings", map[string]any{"id": fmt.Sprintf("o-%d", i), "address": fmt.Sprintf("Mill Lane %d", i%50)})
		case 5:
			kind := "delivered"
			if i%100 == 5 {
				kind = "lost" // nobody knows this kind
			}
			return set("POST", "/events", dispatch.Event{ID: fmt.Sprintf("e-%d", i), Order: "o-1", Kind: kind})
		case 6:
			return set("POST", "/positions", dispatch.Position{Courier: fmt.Sprintf("c-%d", i%60), Lat: 1, Lon: 2, At: time.Unix(1_800_000_000+i, 0).UTC()})
		case 7:
			one := append([]byte(nil), doc...)
			copy(one, fmt.Sprintf("%%%%LABEL:PARCEL-%07dDEPOT-NORTH-GATE-4   ", i))
			return set("POST", "/labels", one)
		case 8:
			return set("GET", "/board", nil)
		default:
			return set("GET", "/quotes?zone=Z7&grams=900", nil)
		}
	}
}
