// Package budget sizes dispatchd to the memory it is given. At start-up main
// asks for a plan, hands the limit to the runtime, makes the pool with so many
// workers and the cache of courier positions with so many bytes.
package budget

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

var (
	// ErrTooSmall is returned where one worker and the smallest cache do not
	// fit. Start-up ends there, with a sentence in the log instead of a kill.
	ErrTooSmall = errors.New("budget: memory too small")

	// ErrSetting is returned for a variable that cannot be read. The error
	// names the variable and its value.
	ErrSetting = errors.New("budget: bad setting")
)

// CacheVar sets the size of the cache by hand. It is written as GOMEMLIMIT is:
// a whole number of bytes, or one with B, KiB, MiB, GiB or TiB behind it.
const CacheVar = "DISPATCHD_CACHE"

// NoLimit is the limit of a process that has none, as the runtime says it.
const NoLimit = math.MaxInt64

// Config says what there is to share, and where to look. A field that is nil
// asks the machine.
type Config struct {
	Files     fs.FS                           // the root of the file system
	LookupEnv func(key string) (string, bool) // the environment
	GoLimit   func() int64                    // the runtime's soft limit, in bytes; NoLimit where it has none
	CPUs      func() int                      // how many CPUs the runtime may use at once

	WorkerBytes   int64 // what one worker holds at its peak; above 0
	WorkersPerCPU int   // never more workers than this for each CPU; above 0
	MinCache      int64 // a cache smaller than this is of no use
	MaxCache      int64 // a cache larger than this is never full
}

// Plan is how the memory is shared.
type Plan struct {
	Limit   int64 // the soft limit, for debug.SetMemoryLimit
	Workers int   // for the pool
	Cache   int64 // for the cache, in bytes
}

// Make reads what the machine and the operator say, and changes nothing. The
// rules are in the README of the lesson.
func Make(cfg Config) (Plan, error) {
	cfg = cfg.orMachine()

	// Kubernetes sets GOMEMLIMIT in the container; outside of one, the cgroup
	// tells, and on a laptop there is no limit at all.
	limit, err := cfg.limit()
	if err != nil {
		return Plan{}, err
	}
	most := cfg.WorkersPerCPU * cfg.CPUs()
	if limit == NoLimit {
		return Plan{Limit: limit, Workers: most, Cache: cfg.MaxCache}, nil
	}

	p := Plan{Limit: limit}
	p.Workers = min(max(int(limit/cfg.WorkerBytes), 1), most)
	p.Cache = min(max(int64(float64(limit)*0.4), cfg.MinCache), cfg.MaxCache)
	if v, ok := cfg.LookupEnv(CacheVar); ok && v != "" {
		if p.Cache, err = parseBytes(v); err != nil {
			return Plan{}, fmt.Errorf("%w: %s=%q: %w", ErrSetting, CacheVar, v, err)
		}
	}
	return p, nil
}

// limit finds the memory limit: GOMEMLIMIT first, then the container.
func (cfg Config) limit() (int64, error) {
	if v, ok := cfg.LookupEnv("GOMEMLIMIT"); ok && v != "" && v != "off" {
		n, err := parseBytes(v)
		if err != nil {
			return 0, fmt.Errorf("%w: GOMEMLIMIT=%q: %w", ErrSetting, v, err)
		}
		return n, nil
	}
	b, err := fs.ReadFile(cfg.Files, "sys/fs/cgroup/memory/memory.limit_in_bytes")
	if err != nil {
		return NoLimit, nil // not in a container
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// parseBytes reads a size: 134217728, 128MiB, 1GiB.
func parseBytes(s string) (int64, error) {
	number := strings.TrimRight(s, "KMGTiB")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, err
	}
	switch unit := s[len(number):]; {
	case strings.HasPrefix(unit, "K"):
		n <<= 10
	case strings.HasPrefix(unit, "M"):
		n <<= 20
	case strings.HasPrefix(unit, "G"):
		n <<= 30
	case strings.HasPrefix(unit, "T"):
		n <<= 40
	}
	return n, nil
}

// orMachine fills what the caller left out.
func (cfg Config) orMachine() Config {
	if cfg.Files == nil {
		cfg.Files = os.DirFS("/")
	}
	if cfg.LookupEnv == nil {
		cfg.LookupEnv = os.LookupEnv
	}
	if cfg.GoLimit == nil {
		cfg.GoLimit = func() int64 { return debug.SetMemoryLimit(-1) }
	}
	if cfg.CPUs == nil {
		cfg.CPUs = runtime.NumCPU
	}
	return cfg
}
