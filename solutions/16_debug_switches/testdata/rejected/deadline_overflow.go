// finding: level.stuck
//
// The end of a turn is a number of nanoseconds, and the longest turns overflow it.

// Package switches is how an operator gets dispatchd to say more: three
// variables that are read at its start, a verbosity that can be turned while
// it runs, and a log of the requests.
package switches

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
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
	var errs []error
	for _, s := range []struct {
		key string
		set func(value string) bool
	}{
		{"DEBUG_LEVEL", func(v string) (ok bool) { cfg.Level, ok = levels[strings.ToLower(v)]; return ok }},
		{"LOG_HTTP_REQUESTS", toBool(&cfg.LogRequests)},
		{"ENABLE_PPROF", toBool(&cfg.Pprof)},
	} {
		if v, ok := lookup(s.key); ok && v != "" && !s.set(v) {
			errs = append(errs, fmt.Errorf("%w: %s=%q", ErrValue, s.key, v))
		}
	}
	if len(errs) > 0 {
		return Config{}, errors.Join(errs...)
	}
	return cfg, nil
}

var levels = map[string]slog.Level{
	"trace": LevelTrace, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

func toBool(to *bool) func(string) bool {
	return func(v string) bool {
		b, err := strconv.ParseBool(v)
		*to = b
		return err == nil
	}
}

// Verbosity is a level that can be turned for a while and goes back by itself,
// so that a debug level switched on in an incident does not fill the disk on
// Sunday. It is a slog.Leveler, and any number of goroutines may use it.
type Verbosity struct {
	base slog.Level
	turn atomic.Pointer[turn] // the latest; nil while there is none
}

// turn does not change. Nobody ends it: it is over when its time is.
type turn struct {
	level slog.Level
	end   int64 // nanoseconds since 1970
}

// NewVerbosity starts at base.
func NewVerbosity(base slog.Level) *Verbosity { return &Verbosity{base: base} }

// Level is the level that holds now.
func (v *Verbosity) Level() slog.Level {
	if t := v.turn.Load(); t != nil && time.Now().UnixNano() < t.end {
		return t.level
	}
	return v.base
}

// Turn sets the level for the time d; then the base holds again. A further
// call replaces the one before, level and time. A d of 0 or less turns back.
func (v *Verbosity) Turn(level slog.Level, d time.Duration) {
	v.turn.Store(&turn{level, time.Now().UnixNano() + int64(d)})
}

// Back ends what Turn began: the base holds again, now.
func (v *Verbosity) Back() { v.turn.Store(nil) }

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
		defer func() {
			status := rec.status.Load()
			if status < 0 {
				status = 0
			}
			log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelInfo, "request",
				slog.String("method", method), slog.String("path", path),
				slog.Int64("status", status), slog.Int64("size", rec.size.Load()),
				slog.Duration("took", time.Since(start)))
		}()
		next.ServeHTTP(rec, r)
		rec.status.CompareAndSwap(0, http.StatusOK) // net/http says so, now
	})
}

// taken is the status of a connection that is not HTTP's any more.
const taken = -1

// recorder remembers what a handler answers. Its status is 0 until it does.
type recorder struct {
	http.ResponseWriter
	status, size atomic.Int64
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(status int) {
	r.ResponseWriter.WriteHeader(status) // panics for what is no status
	if status >= 200 || status == http.StatusSwitchingProtocols {
		r.status.CompareAndSwap(0, int64(status))
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	n, err := r.ResponseWriter.Write(p)
	r.status.CompareAndSwap(0, http.StatusOK)
	r.size.Add(int64(n))
	return n, err
}

func (r *recorder) FlushError() error {
	err := http.NewResponseController(r.ResponseWriter).Flush()
	if !errors.Is(err, http.ErrNotSupported) {
		r.status.CompareAndSwap(0, http.StatusOK)
	}
	return err
}

func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err == nil {
		r.status.Store(taken)
	}
	return conn, rw, err
}
