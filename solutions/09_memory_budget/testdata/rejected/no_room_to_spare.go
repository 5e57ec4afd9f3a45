// finding: budget.error
//
// What fits to the byte is taken for too small.

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
	smallest, largest, err := cfg.cache()
	if err != nil {
		return Plan{}, err
	}
	container, err := cfg.container()
	if err != nil {
		return Plan{}, err
	}
	most := int64(cfg.WorkersPerCPU) * int64(cfg.CPUs())

	p := Plan{Limit: cfg.GoLimit(), Workers: int(most), Cache: largest}
	base := min(p.Limit, container/10*9) // a tenth is for what the runtime does not count
	if v, _ := cfg.LookupEnv("GOMEMLIMIT"); v == "" && p.Limit == NoLimit && container != NoLimit {
		p.Limit = base // the operator said nothing; "off" is something
	}
	if container == NoLimit && p.Limit == NoLimit {
		return p, nil
	}

	room := base / 4 * 3 // the last quarter is garbage that waits for its collection
	workers := max(min(base/2, room-smallest)/cfg.WorkerBytes, 1)
	if smallest >= room-workers*cfg.WorkerBytes {
		return Plan{}, fmt.Errorf("%w: of %d bytes %d may be planned; a worker takes %d and the cache at least %d",
			ErrTooSmall, base, room, cfg.WorkerBytes, smallest)
	}
	p.Workers = int(min(workers, most))
	p.Cache = min(max(room-int64(p.Workers)*cfg.WorkerBytes, smallest), largest)
	return p, nil
}

// cache gives the bounds of the cache, which are one figure where the operator
// has set it.
func (cfg Config) cache() (smallest, largest int64, err error) {
	v, _ := cfg.LookupEnv(CacheVar)
	if v == "" {
		return cfg.MinCache, cfg.MaxCache, nil
	}
	n, err := parseBytes(v)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %s=%q: %w", ErrSetting, CacheVar, v, err)
	}
	return n, n, nil
}

// container gives the limit of the container, or NoLimit. A file that is there
// and cannot be understood is an error: to guess "no limit" is to be killed.
func (cfg Config) container() (int64, error) {
	for _, name := range []string{
		"sys/fs/cgroup/memory.max",                   // cgroup v2
		"sys/fs/cgroup/memory/memory.limit_in_bytes", // cgroup v1
	} {
		b, err := fs.ReadFile(cfg.Files, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("budget: %w", err)
		}
		s := strings.TrimSpace(string(b))
		if s == "max" {
			return NoLimit, nil
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("budget: %s: %q is no limit", name, s)
		}
		if n >= 1<<60 {
			return NoLimit, nil // v1 has no word for it and gives the largest page number
		}
		return n, nil
	}
	return NoLimit, nil
}

// parseBytes reads a size as the runtime reads GOMEMLIMIT.
func parseBytes(s string) (int64, error) {
	number, shift := s, 0
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if rest, ok := strings.CutSuffix(s, unit); ok {
			number, shift = rest, 10*(i+1)
		}
	}
	if shift == 0 {
		number = strings.TrimSuffix(s, "B")
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return 0, errors.New("want a whole number of bytes, or one with B, KiB, MiB, GiB or TiB, as 64MiB")
	}
	return n << shift, nil
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
		// The runtime's answer, which follows the container's CPU limit since
		// Go 1.25. NumCPU counts the node.
		cfg.CPUs = func() int { return runtime.GOMAXPROCS(0) }
	}
	return cfg
}
