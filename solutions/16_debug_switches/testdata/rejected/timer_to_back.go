// finding: level.stuck
//
// The timer calls Back, and Turn stops it. A timer that has fired cannot be
// stopped: its Back waits for the lock, and undoes the turn that has just begun.
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

// Parse reads the switches. Call it once, at the start, before anything
// listens: with a value that nobody knows dispatchd must not start. A variable
// that is empty counts as not set.
func Parse(lookup func(key string) (string, bool)) (Config, error) {
	var cfg Config
	var unknown []error
	read := func(key string, set func(value string) bool) {
		if v, _ := lookup(key); v != "" && !set(v) {
			unknown = append(unknown, fmt.Errorf("%w: %s=%q", ErrValue, key, v))
		}
	}
	parseBool := func(to *bool) func(string) bool {
		return func(v string) bool {
			b, err := strconv.ParseBool(v)
			*to = b
			return err == nil
		}
	}
	read("DEBUG_LEVEL", cfg.setLevel)
	read("LOG_HTTP_REQUESTS", parseBool(&cfg.LogRequests))
	read("ENABLE_PPROF", parseBool(&cfg.Pprof))
	if len(unknown) > 0 {
		return Config{}, errors.Join(unknown...)
	}
	return cfg, nil
}

// setLevel reports whether it knows the word.
func (c *Config) setLevel(word string) bool {
	switch strings.ToLower(word) {
	case "trace":
		c.Level = LevelTrace
	case "debug":
		c.Level = slog.LevelDebug
	case "info":
		c.Level = slog.LevelInfo
	case "warn":
		c.Level = slog.LevelWarn
	case "error":
		c.Level = slog.LevelError
	default:
		return false
	}
	return true
}

// Verbosity is a level that can be turned for a while and goes back by itself,
// so that a debug level switched on in an incident does not fill the disk on
// Sunday. It is a slog.Leveler, and any number of goroutines may use it.
type Verbosity struct {
	base  slog.Level
	level slog.LevelVar

	mu    sync.Mutex
	timer *time.Timer // under way while turned
}

// NewVerbosity starts at base.
func NewVerbosity(base slog.Level) *Verbosity {
	v := &Verbosity{base: base}
	v.level.Set(base)
	return v
}

// Level is the level that holds now.
func (v *Verbosity) Level() slog.Level { return v.level.Level() }

// Turn sets the level for the time d; then the base holds again. A further
// call replaces the one before, level and time. A d of 0 or less turns back.
func (v *Verbosity) Turn(level slog.Level, d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.back()
	if d <= 0 {
		return
	}
	v.level.Set(level)
	v.timer = time.AfterFunc(d, v.Back)
}

// Back ends what Turn began: the base holds again, now.
func (v *Verbosity) Back() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.back()
}

// back is called with mu held.
func (v *Verbosity) back() {
	if v.timer != nil {
		v.timer.Stop()
		v.timer = nil
	}
	v.level.Set(v.base)
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
		start, method, path := time.Now(), r.Method, r.URL.Path
		rec := &recorder{ResponseWriter: w}
		returned := false
		defer func() {
			status := rec.status
			switch {
			case rec.hijacked:
				status = 0
			case status == 0 && returned:
				status = http.StatusOK // net/http says so
			}
			log.Info("request", "method", method, "path", path,
				"status", status, "size", rec.size, "took", time.Since(start))
		}()
		next.ServeHTTP(rec, r)
		returned = true
	})
}

// recorder remembers what a handler answers.
type recorder struct {
	http.ResponseWriter
	status   int // the first that counts; 0 before
	size     int
	hijacked bool
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(status int) {
	r.ResponseWriter.WriteHeader(status) // panics for what is no status
	if status >= 200 || status == http.StatusSwitchingProtocols {
		r.answered(status)
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	n, err := r.ResponseWriter.Write(p)
	r.answered(http.StatusOK)
	r.size += n
	return n, err
}

// FlushError sends the header, as Write does.
func (r *recorder) FlushError() error {
	err := http.NewResponseController(r.ResponseWriter).Flush()
	if err == nil {
		r.answered(http.StatusOK)
	}
	return err
}

func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(r.ResponseWriter).Hijack()
	r.hijacked = r.hijacked || err == nil
	return conn, rw, err
}

func (r *recorder) answered(status int) {
	if r.status == 0 {
		r.status = status
	}
}
