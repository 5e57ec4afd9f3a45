// finding: health.timeout
//
// Bounds each wait by a timer of its own. Two checks that hang take twice the Timeout,
// and the kubelet has given up by then.

// Package health tells Kubernetes, and the operators of dispatchd, how the
// service does.
package health

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
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

// Check asks one dependency whether it answers. Ping should obey its context,
// and may be slow to. Its error may hold secrets, as a connection string.
type Check struct {
	Name string
	Ping func(ctx context.Context) error
}

// Config is what a Health is made of.
type Config struct {
	Version string
	Checks  []Check
	Timeout time.Duration // how long an answer may wait for all checks together; 0 means one second
	MaxAge  time.Duration // how long the outcome of a check is used again; 0 means one second
}

// Health is the state of one process. Make one with New. Its methods may be
// called from several places at once.
type Health struct {
	cfg     Config
	since   time.Time
	started atomic.Bool
	stopped atomic.Bool
	checks  []*watched
}

// watched is a check with its newest outcome.
type watched struct {
	Check
	mu     sync.Mutex
	newest *outcome
}

// outcome is what one Ping says. The other fields are set when done is closed.
type outcome struct {
	done chan struct{}
	err  error
	at   time.Time
}

// New makes the Health of a process that is starting.
func New(cfg Config) *Health {
	cfg.Timeout = cmp.Or(cfg.Timeout, time.Second)
	cfg.MaxAge = cmp.Or(cfg.MaxAge, time.Second)
	h := &Health{cfg: cfg, since: time.Now()}
	for _, c := range cfg.Checks {
		h.checks = append(h.checks, &watched{Check: c})
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
// Checks run side by side. An outcome, good or bad, serves every probe for
// MaxAge, and all who wait for one share it: there is never more than one
// Ping of a check under way. A probe that goes away changes nothing for others.
func (h *Health) Handler() http.Handler {
	r := chi.NewRouter()
	both(r, LivePath, func(w http.ResponseWriter, r *http.Request) {
		write(w, http.StatusOK, map[string]any{"status": OK})
	})
	both(r, ReadyPath, h.ready)
	return r
}

// Admin answers StatusPath, by GET and HEAD, always with 200 and with all that
// is known as JSON: status, as ReadyPath would say it; version; uptime; and
// checks, a list of name and status, which is OK or Failed. It is for the admin
// port, and Handler does not have it. It never shows the text of an error. It
// uses the outcomes that probes use, and is as quick as they are.
func (h *Health) Admin() http.Handler {
	r := chi.NewRouter()
	both(r, StatusPath, h.status)
	return r
}

func (h *Health) ready(w http.ResponseWriter, r *http.Request) {
	status := h.state()
	if status == Ready {
		status = h.verdict(h.ask(r.Context()))
	}
	code := http.StatusServiceUnavailable
	if status == Ready {
		code = http.StatusOK
	}
	write(w, code, map[string]any{"status": status})
}

func (h *Health) status(w http.ResponseWriter, r *http.Request) {
	well := h.ask(r.Context())
	checks := []map[string]string{}
	for i, c := range h.cfg.Checks {
		status := Failed
		if well[i] {
			status = OK
		}
		checks = append(checks, map[string]string{"name": c.Name, "status": status})
	}
	write(w, http.StatusOK, map[string]any{
		"status":  h.verdict(well),
		"version": h.cfg.Version,
		"uptime":  time.Since(h.since).Round(time.Second).String(),
		"checks":  checks,
	})
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

// verdict is what ready says now, when the checks are as well as that. The
// state is asked last: Stopping may have been called while the probe waited.
func (h *Health) verdict(well []bool) string {
	status := h.state()
	for _, ok := range well {
		if !ok && status == Ready {
			status = Unavailable
		}
	}
	return status
}

// ask says which checks are well. One that does not answer within Timeout is
// not.
func (h *Health) ask(ctx context.Context) []bool {
	outcomes := make([]*outcome, len(h.checks))
	for i, c := range h.checks {
		outcomes[i] = h.outcome(c) // all of them run before we wait for the first
	}
	well := make([]bool, len(h.checks))
	for i, o := range outcomes {
		well[i] = o.wellWithin(ctx, h.cfg.Timeout)
	}
	return well
}

// wellWithin waits for the outcome and says whether it is good.
func (o *outcome) wellWithin(ctx context.Context, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-o.done:
		return o.err == nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// outcome returns an outcome that is under way or young enough. Where there is
// none it begins one, which belongs to no probe.
func (h *Health) outcome(c *watched) *outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.newest; o != nil {
		select {
		case <-o.done:
			if time.Since(o.at) < h.cfg.MaxAge {
				return o
			}
		default:
			return o
		}
	}
	o := &outcome{done: make(chan struct{})}
	c.newest = o
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), h.cfg.Timeout)
		defer cancel()
		o.err = c.Ping(ctx)
		o.at = time.Now()
		close(o.done)
	}()
	return o
}

// both routes GET and HEAD.
func both(r chi.Router, path string, f http.HandlerFunc) {
	r.Get(path, f)
	r.Head(path, f)
}

func write(w http.ResponseWriter, code int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(body)
}
