// Package health tells Kubernetes, and the operators of dispatchd, how the
// service does.
package health

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
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
	cfg     Config
	since   time.Time
	started atomic.Bool
	stopped atomic.Bool
}

// New makes the Health of a process that is starting.
func New(cfg Config) *Health {
	cfg.Timeout = cmp.Or(cfg.Timeout, time.Second)
	cfg.MaxAge = cmp.Or(cfg.MaxAge, time.Second)
	return &Health{cfg: cfg, since: time.Now()}
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
	r := chi.NewRouter()
	r.Get(LivePath, func(w http.ResponseWriter, r *http.Request) {
		if err := h.check(r.Context()); err != nil {
			write(w, http.StatusServiceUnavailable, map[string]any{"status": Unavailable, "error": err.Error()})
			return
		}
		write(w, http.StatusOK, map[string]any{"status": OK})
	})
	r.Get(ReadyPath, func(w http.ResponseWriter, r *http.Request) {
		if s := h.state(); s != Ready {
			write(w, http.StatusServiceUnavailable, map[string]any{"status": s})
			return
		}
		if err := h.check(r.Context()); err != nil {
			write(w, http.StatusServiceUnavailable, map[string]any{"status": Unavailable, "error": err.Error()})
			return
		}
		write(w, http.StatusOK, map[string]any{"status": Ready})
	})
	r.Get(StatusPath, h.status)
	return r
}

// Admin answers StatusPath, by GET and HEAD, always with 200 and with all that
// is known as JSON: status, as ReadyPath would say it; version; uptime; and
// checks, a list of name and status, which is OK or Failed. It is for the admin
// port, and Handler does not have it. It never shows the text of an error. It
// uses the outcomes that probes use, and is as quick as they are.
func (h *Health) Admin() http.Handler {
	r := chi.NewRouter()
	r.Get(StatusPath, h.status)
	return r
}

func (h *Health) status(w http.ResponseWriter, r *http.Request) {
	status := h.state()
	checks := []map[string]string{}
	for _, c := range h.cfg.Checks {
		result := map[string]string{"name": c.Name, "status": OK}
		if err := c.Ping(r.Context()); err != nil {
			result["status"], result["error"] = Failed, err.Error()
			if status == Ready {
				status = Unavailable
			}
		}
		checks = append(checks, result)
	}
	write(w, http.StatusOK, map[string]any{
		"status":  status,
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

// check asks every dependency.
func (h *Health) check(ctx context.Context) error {
	for _, c := range h.cfg.Checks {
		if err := c.Ping(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return nil
}

func write(w http.ResponseWriter, code int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(body)
}
