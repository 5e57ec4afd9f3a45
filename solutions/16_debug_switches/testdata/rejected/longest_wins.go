// finding: level.stuck
//
// Keeps the later of two ends, so that nobody is cut short. Whoever turns trace
// on for a minute gets it for the rest of the hour.

// Package switches is how an operator gets dispatchd to say more: three
// variables that are read at its start, a verbosity that can be turned while
// it runs, and a log of the requests.
package switches

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrValue is returned by Parse for a value it does not know. The error names
// each such variable with its value.
var ErrValue = errors.New("switches: unknown value")

// LevelTrace is below debug: what goes over the wire, line by line.
const LevelTrace = slog.LevelDebug - 4

// Config is what the operator has set.
type Config struct {
	Level       slog.Level // DEBUG_LEVEL: trace, debug, info, warn or error, in any case; info where it is not set
	LogRequests bool       // LOG_HTTP_REQUESTS: as strconv.ParseBool reads it; false where it is not set
	Pprof       bool       // ENABLE_PPROF: the same
}

var levels = map[string]slog.Level{
	"trace": LevelTrace,
	"debug": slog.LevelDebug,
	"info":  slog.LevelInfo,
	"warn":  slog.LevelWarn,
	"error": slog.LevelError,
}

// Parse reads the switches. Call it once, at the start, before anything
// listens: with a value that nobody knows dispatchd must not start. A variable
// that is empty counts as not set.
func Parse(lookup func(key string) (string, bool)) (Config, error) {
	var cfg Config
	var errs []error
	bad := func(key, value, want string) {
		errs = append(errs, fmt.Errorf("%w: %s=%q, want %s", ErrValue, key, value, want))
	}

	if v, _ := lookup("DEBUG_LEVEL"); v != "" {
		var ok bool
		if cfg.Level, ok = levels[strings.ToLower(v)]; !ok {
			bad("DEBUG_LEVEL", v, "trace, debug, info, warn or error")
		}
	}
	boolean := func(key string) bool {
		v, _ := lookup(key)
		if v == "" {
			return false
		}
		on, err := strconv.ParseBool(v)
		if err != nil {
			bad(key, v, "true or false")
		}
		return on
	}
	cfg.LogRequests = boolean("LOG_HTTP_REQUESTS")
	cfg.Pprof = boolean("ENABLE_PPROF")

	if len(errs) > 0 {
		return Config{}, errors.Join(errs...)
	}
	return cfg, nil
}

// Verbosity is a level that can be turned for a while and goes back by itself.
type Verbosity struct {
	base slog.Level

	mu    sync.Mutex
	level slog.Level
	until time.Time
}

// NewVerbosity starts at base.
func NewVerbosity(base slog.Level) *Verbosity { return &Verbosity{base: base} }

// Level is the level that holds now.
func (v *Verbosity) Level() slog.Level {
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Now().Before(v.until) {
		return v.level
	}
	return v.base
}

// Turn sets the level for the time d; then the base holds again.
func (v *Verbosity) Turn(level slog.Level, d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.level = level
	if end := time.Now().Add(d); d <= 0 || end.After(v.until) {
		v.until = end
	}
}

// Back ends what Turn began: the base holds again, now.
func (v *Verbosity) Back() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.until = time.Time{}
}

// LogRequests passes requests on to next and writes one entry at level info
// for each when it has ended: method, path, status, size and took, a duration.
// The status is the one that the client got, or 0 where the handler panicked
// before it answered, or took the connection over; a panic goes on. The size
// is the bytes of the body as Write counted them. No header, query or body
// gets into the log, whatever the level. What handlers do through an
// http.ResponseController works as without LogRequests.
func LogRequests(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		returned := false
		defer func() { // also when next panics; without a recover, the panic goes on
			if returned && rec.status == 0 && !rec.hijacked {
				rec.status = http.StatusOK // net/http sends it for a handler that says nothing
			}
			log.LogAttrs(r.Context(), slog.LevelInfo, "request",
				slog.String("method", r.Method),
				slog.String("path", r.URL.Path), // not the query, not a header: no list of secrets is complete
				slog.Int("status", rec.status),
				slog.Int64("size", rec.size),
				slog.Duration("took", time.Since(start)))
		}()
		next.ServeHTTP(rec, r)
		returned = true
	})
}

// recorder remembers what a handler answers.
type recorder struct {
	http.ResponseWriter
	status   int // the final one, 0 before
	size     int64
	hijacked bool
}

// Unwrap is how an http.ResponseController finds what recorder does not do
// itself: deadlines, full duplex.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(status int) {
	// 1xx announces an answer, except 101, which is one.
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	r.answered()
	n, err := r.ResponseWriter.Write(p)
	r.size += int64(n)
	return n, err
}

func (r *recorder) FlushError() error {
	r.answered() // a flush sends the header
	return http.NewResponseController(r.ResponseWriter).Flush()
}

func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(r.ResponseWriter).Hijack()
	r.hijacked = r.hijacked || err == nil
	return conn, rw, err
}

func (r *recorder) answered() {
	if r.status == 0 {
		r.status = http.StatusOK
	}
}
