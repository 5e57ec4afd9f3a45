package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// report is what a load saw; it is the last line that load prints, after one
// that says that it has begun. A request has failed when no answer came, or one from 400 on.
type report struct {
	Type     string         `json:"type"`
	Requests int            `json:"requests"`
	Failed   int            `json:"failed"`
	Failures map[string]int `json:"failures,omitempty"` // by status or error
	Statuses map[string]int `json:"statuses"`
	Seconds  float64        `json:"seconds"`
	P50      float64        `json:"p50_ms"`
	P99      float64        `json:"p99_ms"`
	Slowest  float64        `json:"max_ms"`
	Slow     int            `json:"slow"` // that took more than a second
	Late     int            `json:"late"` // of the failed: 503 or 504 after more than a second
	Which    string         `json:"slowest"`
	First    string         `json:"first_failure,omitempty"` // when the first and the last one failed
	Last     string         `json:"last_failure,omitempty"`
}

// kinds is how many different failures are told apart; the others are counted
// as "others".
const kinds = 12

// drive asks a service at a steady rate. Half of the requests go over
// connections that are kept and half open one each, because a rollout treats
// them differently: an endpoint that is gone gets no new connection, but those
// that stand stay where they are.
func drive(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	f := flags("load")
	base := f.String("url", "", "where the service is, as http://dispatchd.dispatch.svc")
	rate := f.Int("rate", 20, "requests a second")
	last := f.Duration("for", 30*time.Second, "how long, at most")
	path := f.String("path", "", "ask this path only, instead of the depots' day")
	untilEOF := f.Bool("until-eof", false, "end when the standard input does")
	timeout := f.Duration("timeout", 10*time.Second, "how long to wait for an answer")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *base == "" || *rate < 2 {
		return errors.New("load: -url is needed, and a -rate of 2 or more")
	}
	if *untilEOF {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		go func() {
			io.Copy(io.Discard, in)
			cancel()
		}()
	}
	target := day(*base)
	if *path != "" {
		target = func(t *vegeta.Target) error {
			t.Method, t.URL = http.MethodGet, *base+*path
			return nil
		}
	}
	var mu sync.Mutex
	var m vegeta.Metrics
	var slowest time.Duration
	r := report{Type: "load", Failures: map[string]int{}, Statuses: map[string]int{}}
	seen := func(res *vegeta.Result) {
		mu.Lock()
		defer mu.Unlock()
		m.Add(res)
		r.Requests++
		done := res.Timestamp.Add(res.Latency).UTC().Format("15:04:05.000")
		what := fmt.Sprintf("%s %s", res.Method, pathOf(res.URL, *base))
		if res.Latency > time.Second {
			r.Slow++
		}
		if res.Latency > slowest {
			slowest = res.Latency
			r.Which = fmt.Sprintf("%s, answered at %s", what, done)
		}
		if res.Code != 0 {
			r.Statuses[fmt.Sprint(res.Code)]++
		}
		if res.Code >= 200 && res.Code < 400 && res.Error == "" {
			return
		}
		r.Failed++
		if res.Latency > time.Second && (res.Code == http.StatusServiceUnavailable || res.Code == http.StatusGatewayTimeout) {
			r.Late++
		}
		if r.First == "" {
			r.First = done
		}
		r.Last = done
		if res.Code >= 400 {
			what = fmt.Sprintf("%s: %d", what, res.Code)
		} else {
			what = short(res.Error)
		}
		if _, known := r.Failures[what]; !known && len(r.Failures) >= kinds {
			what = "others"
		}
		r.Failures[what]++
	}
	if _, err := fmt.Fprintln(out, `{"type":"begun"}`); err != nil {
		return err
	}
	begin := time.Now()
	var wg sync.WaitGroup
	for i, kept := range []bool{true, false} {
		half := *rate / 2
		if i == 0 {
			half = *rate - half
		}
		// A name is looked up once: what is tried here is the service, not the DNS.
		a := vegeta.NewAttacker(vegeta.DNSCaching(0), vegeta.KeepAlive(kept), vegeta.Timeout(*timeout),
			vegeta.Redirects(vegeta.NoFollow), vegeta.MaxBody(1<<20), vegeta.Workers(4), vegeta.MaxWorkers(256))
		stop := context.AfterFunc(ctx, func() { a.Stop() })
		wg.Go(func() {
			defer stop()
			for res := range a.Attack(target, vegeta.Rate{Freq: half, Per: time.Second}, *last, "") {
				seen(res)
			}
		})
	}
	wg.Wait()
	m.Close()
	ms := func(d time.Duration) float64 { return math.Round(float64(d.Microseconds())/10) / 100 }
	r.Seconds = time.Since(begin).Seconds()
	r.P50, r.P99, r.Slowest = ms(m.Latencies.P50), ms(m.Latencies.P99), ms(m.Latencies.Max)
	return json.NewEncoder(out).Encode(r)
}

func pathOf(url, base string) string {
	path := url[min(len(base), len(url)):]
	for i := 1; i < len(path); i++ {
		if path[i] == '/' || path[i] == '?' {
			return path[:i] + "/…"
		}
	}
	return path
}

// day is what depots ask in a day, over and over.
func day(base string) vegeta.Targeter {
	var count atomic.Int64
	host, _ := os.Hostname()
	asJSON := http.Header{"Content-Type": {"application/json"}}
	return func(t *vegeta.Target) error {
		n := count.Add(1)
		id := fmt.Sprintf("%s-%d-%d", host, os.Getpid(), n)
		t.Header, t.Body = nil, nil
		ask := func(format string, args ...any) { t.Method, t.URL = http.MethodGet, base+fmt.Sprintf(format, args...) }
		send := func(path string, body map[string]any) error {
			t.Method, t.URL, t.Header = http.MethodPost, base+path, asJSON
			b, err := json.Marshal(body)
			t.Body = b
			return err
		}
		order := map[string]any{"id": id, "depot": "north", "recipient": "Ada Example", "address": fmt.Sprintf("Main Street %d", n%90+1), "grams": 300 + n%900}
		switch n % 10 {
		case 0:
			return send("/routes", order)
		case 1:
			ask("/products/p-%d", n%50)
		case 2:
			ask("/cards/%s", id)
		case 3:
			return send("/positions", map[string]any{"courier": fmt.Sprintf("c-%d", n%20), "lat": 52.5, "lon": 13.4, "at": time.Now().UTC()})
		case 4:
			ask("/couriers/c-%d", n%20)
		case 6:
			order["card"] = map[string]any{"number": "4111 1111 1111 1111", "cvc": "737"}
			return send("/bookings", order)
		case 7:
			ask("/board")
		case 8:
			ask("/quotes?zone=Z1&grams=%d", 500+n%500)
		case 5, 9:
			return send("/events", map[string]any{"id": "e-" + id, "order": id, "kind": "delivered", "at": time.Now().UTC()})
		}
		return nil
	}
}
