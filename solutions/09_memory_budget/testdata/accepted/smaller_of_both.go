// Reads both cgroup files where both are there and takes the smaller, with a
// reader of its own; a regular expression reads the sizes.

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
	"regexp"
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
	if smallest > room-workers*cfg.WorkerBytes {
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

// container gives the smaller limit of the two hierarchies.
func (cfg Config) container() (int64, error) {
	one, err := readLimit(cfg.Files, "sys/fs/cgroup/memory/memory.limit_in_bytes")
	if err != nil {
		return 0, err
	}
	two, err := readLimit(cfg.Files, "sys/fs/cgroup/memory.max")
	return min(one, two), err
}

func readLimit(files fs.FS, name string) (int64, error) {
	f, err := files.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return NoLimit, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var word string
	if _, err := fmt.Fscan(f, &word); err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	if word == "max" {
		return NoLimit, nil
	}
	n, err := strconv.ParseUint(word, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	if n > math.MaxInt64-(1<<20) {
		return NoLimit, nil
	}
	return int64(n), nil
}

var size = regexp.MustCompile(`^([0-9]+)([KMGT]iB|B|)$`)

// parseBytes reads a size as the runtime reads GOMEMLIMIT.
func parseBytes(s string) (int64, error) {
	m := size.FindStringSubmatch(s)
	if m == nil {
		return 0, errors.New("not a size")
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, err
	}
	if m[2] != "" && m[2] != "B" {
		for range strings.Index("KMGT", m[2][:1]) + 1 {
			if n > math.MaxInt64/1024 {
				return 0, errors.New("too large")
			}
			n *= 1024
		}
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
		// The runtime's answer, which follows the container's CPU limit since
		// Go 1.25. NumCPU counts the node.
		cfg.CPUs = func() int { return runtime.GOMAXPROCS(0) }
	}
	return cfg
}
