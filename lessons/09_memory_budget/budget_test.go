package budget_test

import (
	"fmt"
	"math"
	"testing"
	"testing/fstest"
	"time"

	"pitstop/checker/probe"
	budget "pitstop/lessons/09_memory_budget"
)

const (
	mib = 1 << 20

	v2 = "sys/fs/cgroup/memory.max"
	v1 = "sys/fs/cgroup/memory/memory.limit_in_bytes"

	// Nine tenths of a figure may be computed in several ways.
	rounding = 64 << 10
)

// pod is the situation that dispatchd starts in.
type pod struct {
	files  map[string]string // what stands in the cgroup's files
	env    map[string]string
	limit  int64 // the runtime's; 0 stands for none
	change func(*budget.Config)
}

// In every pod a worker takes 8 MiB, the cache 16 to 256 MiB, and there are 4
// CPUs with 16 workers each.
func (p pod) config() budget.Config {
	files := fstest.MapFS{}
	for name, text := range p.files {
		files[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o444}
	}
	cfg := budget.Config{
		Files:         files,
		LookupEnv:     func(key string) (string, bool) { v, ok := p.env[key]; return v, ok },
		GoLimit:       func() int64 { return budget.NoLimit },
		CPUs:          func() int { return 4 },
		WorkerBytes:   8 * mib,
		WorkersPerCPU: 16,
		MinCache:      16 * mib,
		MaxCache:      256 * mib,
	}
	if p.limit != 0 {
		cfg.GoLimit = func() int64 { return p.limit }
	}
	if p.change != nil {
		p.change(&cfg)
	}
	return cfg
}

// plan is what is wanted, in MiB. A limit of 0 stands for none.
type plan struct {
	room    float64 // three quarters of what there is; 0 where there is no limit
	limit   float64
	workers int
	cache   float64
}

func TestMake_FitsTheContainer(t *testing.T) {
	for name, c := range map[string]struct {
		pod  pod
		want plan
	}{
		"cgroup v2, 128Mi":                  {inV2(128), plan{86.4, 115.2, 7, 30.4}},
		"cgroup v2, 512Mi":                  {inV2(512), plan{345.6, 460.8, 28, 121.6}},
		"cgroup v1, 512Mi":                  {inV1(512), plan{345.6, 460.8, 28, 121.6}},
		"cgroup v2, 4Gi, more than it uses": {inV2(4096), plan{2764.8, 3686.4, 64, 256}},
		"cgroup v2, 36Mi, as little as can": {inV2(36), plan{24.3, 32.4, 1, 16.3}},
	} {
		t.Run(name, func(t *testing.T) { check(t, c.pod, c.want) })
	}
}

func TestMake_FitsTheOperatorsLimit(t *testing.T) {
	// The operator sets GOMEMLIMIT; by the time main runs, the runtime has read it.
	for name, c := range map[string]struct {
		pod  pod
		want plan
	}{
		"GOMEMLIMIT=200MiB, no container": {operator(pod{}, "200MiB", 200*mib), plan{150, 200, 12, 54}},
		"GOMEMLIMIT=200MiB, 512Mi":        {operator(inV2(512), "200MiB", 200*mib), plan{150, 200, 12, 54}},
	} {
		t.Run(name, func(t *testing.T) { check(t, c.pod, c.want) })
	}
}

func TestMake_WithoutALimitUsesTheCeilings(t *testing.T) {
	check(t, pod{}, plan{workers: 64, cache: 256})
}

func inV2(m int64) pod { return pod{files: map[string]string{v2: fmt.Sprintln(m * mib)}} }
func inV1(m int64) pod { return pod{files: map[string]string{v1: fmt.Sprintln(m * mib)}} }

// operator is p where somebody has set GOMEMLIMIT to text, which the runtime
// reads as limit.
func operator(p pod, text string, limit int64) pod {
	p.env, p.limit = map[string]string{"GOMEMLIMIT": text}, limit
	return p
}

// check makes the plan of a pod and compares it with what the README promises.
func check(t *testing.T, p pod, want plan) {
	t.Helper()
	cfg := p.config()
	got, err := make1(t, cfg)
	if err != nil {
		probe.Fatalf(t, "budget.error", "Make refused to plan: %v. There is room for %d workers and a cache of %s.", err, want.workers, inMiB(want.cache))
	}
	if got.Workers < 1 || got.Cache < 0 {
		probe.Fatalf(t, "budget.workers", "the plan has %d workers and a cache of %d bytes.", got.Workers, got.Cache)
	}
	checkLimit(t, got.Limit, want.limit)

	planned := float64(got.Workers)*float64(cfg.WorkerBytes) + float64(got.Cache)
	if want.room != 0 && !probe.AtMost(t, "planned for workers and cache", round(planned/mib), want.room, "MiB") && planned > want.room*mib+rounding {
		probe.Errorf(t, "budget.over", "%d workers of %s and a cache of %s take %s; three quarters of what there is are %s.",
			got.Workers, probe.Bytes(cfg.WorkerBytes), probe.Bytes(got.Cache), probe.Bytes(planned), inMiB(want.room))
		return
	}
	if !probe.Equal(t, "workers", got.Workers, want.workers, "workers") {
		probe.Errorf(t, "budget.workers", "the plan has %d workers of %s; by the rules it is %d.", got.Workers, probe.Bytes(cfg.WorkerBytes), want.workers)
	}
	if !probe.Equal(t, "cache", round(float64(got.Cache)/mib), want.cache, "MiB") && !near(got.Cache, want.cache) {
		probe.Errorf(t, "budget.cache", "the plan gives the cache %s beside %d workers; by the rules it is %s.", probe.Bytes(got.Cache), got.Workers, inMiB(want.cache))
	}
}

// checkLimit compares the soft limit of the plan, in bytes, with want, in MiB.
func checkLimit(t *testing.T, got int64, want float64) {
	t.Helper()
	switch {
	case want == 0 && got != budget.NoLimit:
		probe.Errorf(t, "budget.limit", "the plan's limit is %s; nothing limits the runtime here, so it is NoLimit.", probe.Bytes(got))
	case want != 0 && got == budget.NoLimit:
		probe.Errorf(t, "budget.limit", "the plan's limit is NoLimit, though there is one: it is %s.", inMiB(want))
	case want != 0 && !probe.Equal(t, "soft limit", round(float64(got)/mib), want, "MiB") && !near(got, want):
		probe.Errorf(t, "budget.limit", "the plan's limit is %s, by the rules it is %s.", probe.Bytes(got), inMiB(want))
	}
}

// make1 calls Make, and tells of a call that panics or does not come back.
func make1(t *testing.T, cfg budget.Config) (plan budget.Plan, err error) {
	t.Helper()
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		plan, err = budget.Make(cfg)
	}()
	select {
	case panicked := <-done:
		if panicked != nil {
			probe.Fatalf(t, "budget.panic", "Make panicked: %v.", panicked)
		}
	case <-time.After(4 * time.Second):
		probe.Fatalf(t, "budget.hang", "Make had not returned after 4 s.")
	}
	return plan, err
}

func near(got int64, want float64) bool { return math.Abs(float64(got)-want*mib) <= rounding }

// round gives MiB with one digit, as the findings say them.
func round(m float64) float64 { return math.Round(m*10) / 10 }

func inMiB(m float64) string { return probe.Bytes(m * mib) }
