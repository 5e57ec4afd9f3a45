// finding: health.default
//
// A Timeout of 0 is over before a ping begins.

// Package health tells Kubernetes, and the operators of dispatchd, how the
// service does.
package health

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
)

// The paths, and the words that answers have for a status.
const (
	LivePath   = "/health/live"
	ReadyPath  = "/health/ready"
	StatusPath = "/health/status"

	OK          = "ok"          // live; or a check that is well
	Ready       = "ready"       // send orders here
	Starting    = "starting"    // Started has not been called
	Stopping    = "stopping"    // Stopping has been called
	Unavailable = "unavailable" // a check failed or did not answer in time
	Failed      = "failed"      // a check that is not well
)

// Check asks one dependency whether it answers. Name is for people, and another
// check may have the same. Ping should obey its context, and may be slow to. Its
// error may hold secrets, as a connection string.
type Check struct {
	Name string
	Ping func(ctx context.Context) error
}

// Config is what a Health is made of.
type Config struct {
	Version string
	Checks  []Check
	Timeout time.Duration // how long an answer may wait for all checks together; 0 means one second
	MaxAge  time.Duration // how long an outcome is used again, from the return of its Ping; 0 means one second
}

// Health is the state of one process. Make one with New. Its methods may be
// called from several places at once.
type Health struct {
	version string
	timeout time.Duration
	checks  []*check
	since   time.Time
	started atomic.Bool
	stopped atomic.Bool
}

// New makes the Health of a process that is starting.
func New(cfg Config) *Health {
	h := &Health{version: cfg.Version, timeout: cfg.Timeout, since: time.Now()}
	for _, c := range cfg.Checks {
		h.checks = append(h.checks, &check{Check: c, timeout: h.timeout, maxAge: cmp.Or(cfg.MaxAge, time.Second)})
	}
	return h
}

// Started says that start-up is over. It does not undo Stopping.
func (h *Health) Started() { h.started.Store(true) }

// Stopping says that shutdown has begun: no answer says ready after this call
// has returned, also none to a probe that came before.
func (h *Health) Stopping() { h.stopped.Store(true) }

// Handler answers the probes, by GET and HEAD. Every answer is JSON with a
// status and nothing else, and says that it must not be stored.
//
//   - LivePath: 200 for as long as the process can answer at all. It depends on
//     nothing else, for a restart mends nothing else.
//   - ReadyPath: 200 when the process has started, is not stopping, and all
//     checks are well; otherwise 503, within Timeout.
//
// Checks run side by side, and one that fails ends no other. An outcome, good or
// bad, serves every probe for MaxAge, and all who wait for one share it: there is
// never more than one Ping of a check under way. A probe that goes away changes
// nothing for others.
func (h *Health) Handler() http.Handler {
	return route(map[string]http.HandlerFunc{LivePath: h.live, ReadyPath: h.ready})
}

// Admin answers StatusPath, by GET and HEAD, always with 200 and with all that
// is known as JSON: status, as ReadyPath would say it; version; uptime; and
// checks, a list of name and status, which is OK or Failed. It is for the admin
// port, and Handler does not have it. It never shows the text of an error. It
// uses the outcomes that probes use, and is as quick as they are.
func (h *Health) Admin() http.Handler {
	return route(map[string]http.HandlerFunc{StatusPath: h.status})
}

// route serves each path by GET and HEAD: chi does not take one for the other.
func route(paths map[string]http.HandlerFunc) http.Handler {
	r := chi.NewRouter()
	for path, f := range paths {
		r.Get(path, f)
		r.Head(path, f)
	}
	return r
}

type answer struct {
	Status string `json:"status"`
}

func (h *Health) live(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, answer{OK})
}

func (h *Health) ready(w http.ResponseWriter, r *http.Request) {
	code, status := http.StatusServiceUnavailable, h.state()
	if status == Ready {
		well := !slices.Contains(h.ask(r.Context()), false)
		// Shutdown may have begun while the checks were under way.
		switch status = h.state(); {
		case status == Ready && well:
			code = http.StatusOK
		case status == Ready:
			status = Unavailable
		}
	}
	write(w, code, answer{status})
}

type report struct {
	Status  string   `json:"status"`
	Version string   `json:"version"`
	Uptime  string   `json:"uptime"`
	Checks  []result `json:"checks"`
}

type result struct {
	Name   string `json:"name"`
	Status string `json:"status"`
}

func (h *Health) status(w http.ResponseWriter, r *http.Request) {
	well := h.ask(r.Context())
	all := report{h.state(), h.version, time.Since(h.since).Round(time.Second).String(), []result{}}
	for i, c := range h.checks {
		one := result{c.Name, OK}
		if !well[i] {
			one.Status = Failed
			if all.Status == Ready {
				all.Status = Unavailable
			}
		}
		all.Checks = append(all.Checks, one)
	}
	write(w, http.StatusOK, all)
}

// state is Ready, Starting or Stopping.
func (h *Health) state() string {
	switch {
	case h.stopped.Load():
		return Stopping
	case !h.started.Load():
		return Starting
	}
	return Ready
}

// ask says which checks are well. It waits for all of them together, no longer
// than the timeout; one that has not ended by then is not well.
func (h *Health) ask(ctx context.Context) []bool {
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	var outcomes []*outcome
	for _, c := range h.checks {
		outcomes = append(outcomes, c.ask())
	}
	well := make([]bool, len(outcomes))
	for i, o := range outcomes {
		select {
		case <-o.done:
			well[i] = o.err == nil
		case <-ctx.Done():
		}
	}
	return well
}

// check is a Check and its newest outcome.
type check struct {
	Check
	timeout, maxAge time.Duration

	mu     sync.Mutex
	newest *outcome
}

// outcome is how one ping went. Its fields are set before done is closed.
type outcome struct {
	done  chan struct{}
	err   error
	stale time.Time
}

func (o *outcome) fresh() bool {
	select {
	case <-o.done:
		return time.Now().Before(o.stale)
	default:
		return true // under way
	}
}

// ask returns an outcome that is fresh or under way. It never waits. The ping
// belongs to nobody who asks: it has a context of its own.
func (c *check) ask() *outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newest != nil && c.newest.fresh() {
		return c.newest
	}
	o := &outcome{done: make(chan struct{})}
	c.newest = o
	go func() {
		defer close(o.done)
		ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
		defer cancel()
		o.err = c.Ping(ctx)
		o.stale = time.Now().Add(c.maxAge)
	}()
	return o
}

func write(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // a prober that has left wants nothing
}
