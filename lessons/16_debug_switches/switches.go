// Package switches is how an operator gets dispatchd to say more: three
// variables that are read at its start, a verbosity that can be turned while
// it runs, and a log of the requests.
package switches

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
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
	var err error

	level, _ := lookup("DEBUG_LEVEL")
	switch strings.ToLower(level) {
	case "trace":
		cfg.Level = LevelTrace
	case "debug":
		cfg.Level = slog.LevelDebug
	case "warn":
		cfg.Level = slog.LevelWarn
	case "error":
		cfg.Level = slog.LevelError
	default:
		cfg.Level = slog.LevelInfo
	}
	if v, ok := lookup("LOG_HTTP_REQUESTS"); ok && v != "" {
		if cfg.LogRequests, err = strconv.ParseBool(v); err != nil {
			return Config{}, ErrValue
		}
	}
	if v, ok := lookup("ENABLE_PPROF"); ok && v != "" {
		if cfg.Pprof, err = strconv.ParseBool(v); err != nil {
			return Config{}, ErrValue
		}
	}
	return cfg, nil
}

// Verbosity is a level that can be turned for a while and goes back by itself,
// so that a debug level switched on in an incident does not fill the disk on
// Sunday. It is a slog.Leveler, and any number of goroutines may use it.
type Verbosity struct {
	level slog.LevelVar

	mu    sync.Mutex
	timer *time.Timer // under way while turned
}

// NewVerbosity starts at base.
func NewVerbosity(base slog.Level) *Verbosity {
	v := &Verbosity{}
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
	before := v.level.Level()
	v.level.Set(level)
	v.timer = time.AfterFunc(d, func() { v.level.Set(before) })
}

// Back ends what Turn began: the base holds again, now.
func (v *Verbosity) Back() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.timer != nil {
		v.timer.Reset(0)
	}
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
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(rec, r)

		log := log
		if strings.EqualFold(os.Getenv("DEBUG_LEVEL"), "trace") {
			log = log.With("url", r.URL.String(), "headers", r.Header)
		}
		log.Info("request", "method", r.Method, "path", r.URL.Path,
			"status", rec.status, "size", rec.size, "took", time.Since(start))
	})
}

// recorder remembers what a handler answers.
type recorder struct {
	http.ResponseWriter
	status int
	size   int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	r.size += len(p)
	return r.ResponseWriter.Write(p)
}
