//go:build review

package budget_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"pitstop/checker/probe"
	budget "pitstop/lessons/09_memory_budget"
)

func TestReview_ContainerWithoutALimit(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"v2 says max":                       {v2: "max\n"},
		"v1 on pages of 4 KiB":              {v1: "9223372036854771712\n"},
		"v1 on pages of 64 KiB":             {v1: "9223372036854710272\n"},
		"other files beside, and not these": {"sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/memory.high": "max\n"},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, pod{files: files}, plan{workers: 64, cache: 256})
		})
		t.Run(name+", GOMEMLIMIT=200MiB", func(t *testing.T) {
			check(t, operator(pod{files: files}, "200MiB", 200*mib), plan{150, 200, 12, 54})
		})
	}
}

func TestReview_UnreadableLimitIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		pod  pod
	}{
		"v2, with a unit":  {v2, pod{files: map[string]string{v2: "128M\n"}}},
		"v2, empty":        {v2, pod{files: map[string]string{v2: ""}}},
		"v1, a word":       {v1, pod{files: map[string]string{v1: "unlimited\n"}}},
		"v2, not for us":   {v2, pod{change: func(c *budget.Config) { c.Files = closedFS{v2} }}},
		"v1, not for us":   {v1, pod{change: func(c *budget.Config) { c.Files = closedFS{v1} }}},
		"v2, GOMEMLIMIT=…": {v2, operator(pod{files: map[string]string{v2: "128M\n"}}, "200MiB", 200*mib)},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := make1(t, c.pod.config())
			switch {
			case err == nil:
				probe.Errorf(t, "budget.file", "%s is there and cannot be understood (%s), and Make plans %d workers as if nothing were wrong.", c.file, name, got.Workers)
			case errors.Is(err, budget.ErrTooSmall) || !strings.Contains(err.Error(), c.file[strings.LastIndex(c.file, "/")+1:]):
				probe.Errorf(t, "budget.file", "the error for an unreadable %s is %q: it does not say which file it is.", c.file, err)
			}
		})
	}
}

func TestReview_OperatorsLimit(t *testing.T) {
	for name, c := range map[string]struct {
		pod  pod
		want plan
	}{
		"off, 512Mi":              {operator(inV2(512), "off", budget.NoLimit), plan{345.6, 0, 28, 121.6}},
		"off, no container":       {operator(pod{}, "off", budget.NoLimit), plan{0, 0, 64, 256}},
		"empty, 512Mi":            {operator(inV2(512), "", budget.NoLimit), plan{345.6, 460.8, 28, 121.6}},
		"1GiB, 512Mi":             {operator(inV2(512), "1GiB", 1024*mib), plan{345.6, 1024, 28, 121.6}},
		"the whole container":     {operator(inV2(512), "536870912", 512*mib), plan{345.6, 512, 28, 121.6}},
		"between 90% and all":     {operator(inV1(512), "500MiB", 500*mib), plan{345.6, 500, 28, 121.6}},
		"plain bytes":             {operator(pod{}, "209715200", 200*mib), plan{150, 200, 12, 54}},
		"bytes with a B":          {operator(pod{}, "209715200B", 200*mib), plan{150, 200, 12, 54}},
		"KiB":                     {operator(pod{}, "204800KiB", 200*mib), plan{150, 200, 12, 54}},
		"1TiB":                    {operator(inV2(512), "1TiB", 1<<40), plan{345.6, 1 << 20, 28, 121.6}},
		"set by code, not by env": {pod{files: inV2(512).files, limit: 200 * mib}, plan{150, 200, 12, 54}},
		"set by code, above 90%":  {pod{files: inV2(512).files, limit: 500 * mib}, plan{345.6, 500, 28, 121.6}},
		"just enough":             {operator(pod{}, "32MiB", 32*mib), plan{24, 32, 1, 16}},
		"set by code, unlimited":  {pod{limit: 200 * mib}, plan{150, 200, 12, 54}},
		"another's variable, 512Mi": {
			pod{files: inV2(512).files, env: map[string]string{"GOGC": "50", "MEMORY_LIMIT": "1"}}, plan{345.6, 460.8, 28, 121.6}},
	} {
		t.Run(name, func(t *testing.T) { check(t, c.pod, c.want) })
	}
}

func TestReview_TooSmallIsAnError(t *testing.T) {
	for name, p := range map[string]pod{
		"32Mi":                        inV2(32),
		"v1, 8Mi":                     inV1(8),
		"GOMEMLIMIT=31MiB":            operator(inV2(512), "31MiB", 31*mib),
		"GOMEMLIMIT=1GiB, 32Mi":       operator(inV2(32), "1GiB", 1024*mib),
		"GOMEMLIMIT=off, 32Mi":        operator(inV2(32), "off", budget.NoLimit),
		"a worker larger than all":    {files: inV2(128).files, change: func(c *budget.Config) { c.WorkerBytes = 100 * mib }},
		"a cache set larger than all": {files: inV2(128).files, env: map[string]string{budget.CacheVar: "1GiB"}},
		"a cache set too large by a worker": {
			files: inV2(128).files, env: map[string]string{budget.CacheVar: "80MiB"}},
		"the largest cache there is": {
			files: inV2(128).files, env: map[string]string{budget.CacheVar: "9223372036854775807"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := make1(t, p.config())
			switch {
			case err == nil:
				probe.Errorf(t, "budget.too_small", "%s: one worker and the smallest cache do not fit, and Make plans %d workers and a cache of %s.",
					name, got.Workers, probe.Bytes(got.Cache))
			case !errors.Is(err, budget.ErrTooSmall):
				probe.Errorf(t, "budget.too_small", "%s: the error is %q, which is not ErrTooSmall.", name, err)
			case errors.Is(err, budget.ErrSetting):
				probe.Errorf(t, "budget.too_small", "%s: errors.Is cannot tell ErrTooSmall from ErrSetting.", name)
			}
		})
	}
}

func TestReview_SharesAreTradedOff(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*budget.Config)
		want   plan
	}{
		"a large MinCache leaves fewer workers": {
			func(c *budget.Config) { c.MinCache = 200 * mib }, plan{345.6, 460.8, 18, 201.6}},
		"one worker larger than half": {
			func(c *budget.Config) { c.WorkerBytes, c.MinCache = 250*mib, 8*mib }, plan{345.6, 460.8, 1, 95.6}},
		"one CPU": {
			func(c *budget.Config) { c.CPUs = func() int { return 1 } }, plan{345.6, 460.8, 16, 217.6}},
		"one worker for each CPU, a small MaxCache": {
			func(c *budget.Config) { c.WorkersPerCPU, c.MaxCache = 1, 32*mib }, plan{345.6, 460.8, 4, 32}},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, pod{files: inV2(512).files, change: c.change}, c.want)
		})
	}
}

func TestReview_CacheSetByHand(t *testing.T) {
	for text, c := range map[string]struct {
		pod  pod
		want plan
	}{
		"64MiB":      {inV2(512), plan{345.6, 460.8, 28, 64}},
		"67108864":   {inV2(512), plan{345.6, 460.8, 28, 64}},
		"67108864B":  {inV2(512), plan{345.6, 460.8, 28, 64}},
		"65536KiB":   {inV1(512), plan{345.6, 460.8, 28, 64}},
		"300MiB":     {inV2(512), plan{345.6, 460.8, 5, 300}}, // above MaxCache: it was said
		"4MiB":       {inV2(512), plan{345.6, 460.8, 28, 4}},  // below MinCache
		"0":          {inV2(512), plan{345.6, 460.8, 28, 0}},  // no cache
		"":           {inV2(512), plan{345.6, 460.8, 28, 121.6}},
		"1GiB":       {pod{}, plan{workers: 64, cache: 1024}},
		"1TiB":       {pod{}, plan{workers: 64, cache: 1 << 20}},
		"1073741824": {pod{}, plan{workers: 64, cache: 1024}},
	} {
		t.Run(fmt.Sprintf("%q", text), func(t *testing.T) {
			c.pod.env = map[string]string{budget.CacheVar: text}
			check(t, c.pod, c.want)
		})
	}
}

func TestReview_BadCacheSettingIsAnError(t *testing.T) {
	for _, text := range []string{
		"64MB", "64Mi", "64M", "64mib", "64 MiB", " 64MiB", "1e3", "1e9B", "-1", "-64MiB", "1.5GiB", "1PiB", "0x10",
		"MiB", "B", "off", "max", "none", "1_000", "64MiBB", "64KiMiB", "9223372036854775808", "8388608TiB", "17179869184GiB",
	} {
		t.Run(text, func(t *testing.T) {
			for where, p := range map[string]pod{"in a container": inV2(512), "without a limit": {}} {
				p.env = map[string]string{budget.CacheVar: text}
				got, err := make1(t, p.config())
				switch {
				case err == nil:
					probe.Errorf(t, "budget.setting", "%s=%q is taken for %s %s; GOMEMLIMIT=%s ends a Go process at its start.", budget.CacheVar, text, probe.Bytes(got.Cache), where, text)
				case !errors.Is(err, budget.ErrSetting):
					probe.Errorf(t, "budget.setting", "%s=%q gives %q, which is not ErrSetting.", budget.CacheVar, text, err)
				case !strings.Contains(err.Error(), budget.CacheVar) || !strings.Contains(err.Error(), text):
					probe.Errorf(t, "budget.setting", "the error for %s=%q is %q: it does not name both.", budget.CacheVar, text, err)
				}
			}
		})
	}
}

func TestReview_AsksTheRuntime(t *testing.T) {
	if old, ok := os.LookupEnv("GOMEMLIMIT"); ok {
		os.Unsetenv("GOMEMLIMIT")
		t.Cleanup(func() { os.Setenv("GOMEMLIMIT", old) })
	}
	t.Setenv(budget.CacheVar, "20MiB")
	procs := runtime.NumCPU() + 3
	oldLimit, oldProcs := debug.SetMemoryLimit(900*mib), runtime.GOMAXPROCS(procs)
	t.Cleanup(func() { debug.SetMemoryLimit(oldLimit); runtime.GOMAXPROCS(oldProcs) })

	cfg := inV2(4096).config()
	cfg.LookupEnv, cfg.GoLimit, cfg.CPUs, cfg.WorkersPerCPU = nil, nil, nil, 1
	got, err := make1(t, cfg)
	limit, now := debug.SetMemoryLimit(-1), runtime.GOMAXPROCS(0)

	if err != nil {
		probe.Fatalf(t, "budget.error", "Make with the machine's own figures gave %v.", err)
	}
	if limit != 900*mib || now != procs {
		probe.Errorf(t, "budget.changes", "Make changed the process: the runtime's limit went from %s to %s, GOMAXPROCS from %d to %d.",
			probe.Bytes(900*mib), probe.Bytes(limit), procs, now)
	}
	if got.Limit != 900*mib {
		probe.Errorf(t, "budget.limit", "the plan's limit is %s where GoLimit is nil and the runtime's limit is %s.", probe.Bytes(got.Limit), probe.Bytes(900*mib))
	}
	if !probe.Equal(t, "workers where CPUs is nil", got.Workers, procs, "workers") {
		probe.Errorf(t, "budget.cpu", "%d workers at 1 for each CPU, with GOMAXPROCS=%d on a machine of %d CPUs: a pod may use what GOMAXPROCS says.",
			got.Workers, procs, runtime.NumCPU())
	}
	if got.Cache != 20*mib {
		probe.Errorf(t, "budget.cache", "the cache is %s where LookupEnv is nil and the environment has %s=20MiB.", probe.Bytes(got.Cache), budget.CacheVar)
	}

	cfg.Files = nil // whatever this machine says, it is no reason to panic
	make1(t, cfg)
	cfg.Files = inV2(4096).config().Files

	runtime.GOMAXPROCS(1)
	if got, err = make1(t, cfg); err == nil && got.Workers != 1 {
		probe.Errorf(t, "budget.cpu", "%d workers at 1 for each CPU, with GOMAXPROCS=1.", got.Workers)
	}
}

func TestReview_ChangesNothing(t *testing.T) {
	old := debug.SetMemoryLimit(budget.NoLimit)
	t.Cleanup(func() { debug.SetMemoryLimit(old) })
	cfg := inV2(4096).config()
	cfg.GoLimit = nil
	for range 2 {
		got, err := make1(t, cfg)
		if err != nil {
			probe.Fatalf(t, "budget.error", "Make gave %v for a pod of 4Gi.", err)
		}
		checkLimit(t, got.Limit, 3686.4)
	}
	if limit := debug.SetMemoryLimit(-1); limit != budget.NoLimit {
		probe.Errorf(t, "budget.changes", "the runtime has a limit of %s after Make, and had none before: to set it is for main.", probe.Bytes(limit))
	}
}

// closedFS has one file, which may not be read.
type closedFS struct{ name string }

func (f closedFS) Open(name string) (fs.File, error) {
	if name == f.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}
