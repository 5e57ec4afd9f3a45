package dispatchd

import (
	"encoding/json"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"
)

// Measure is what the checker reads off a running dispatchd. It is the
// workshop's instrument and no part of the service: it is off unless
// MEASURE_ADDR is set, and a port of its own, so that it works whatever state
// lesson 15 is in.
type Measure struct {
	Goroutines  int    `json:"goroutines"`
	Heap        uint64 `json:"heap"`         // bytes that are reachable after two collections
	Allocated   uint64 `json:"allocated"`    // bytes since the start
	Mallocs     uint64 `json:"mallocs"`      // objects since the start
	MemoryLimit int64  `json:"memory_limit"` // the runtime's
}

func serveMeasure(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	announce("measure", ln.Addr())
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("gc") != "" {
			runtime.GC()
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		_ = json.NewEncoder(w).Encode(Measure{
			Goroutines: runtime.NumGoroutine(), Heap: m.HeapAlloc, Allocated: m.TotalAlloc, Mallocs: m.Mallocs,
			MemoryLimit: debug.SetMemoryLimit(-1),
		})
	})}
	go func() { _ = srv.Serve(ln) }()
	return nil
}
