package dispatchd

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	switches "pitstop/lessons/16_debug_switches"
)

// Settings is what the environment says. Everything is read here, once.
type Settings struct {
	World string // DATABASE_URL: where the database and all other services are

	HTTPAddr  string // HTTP_ADDR: orders from the depots, and the probes
	ScanAddr  string // SCAN_ADDR: lines from the hand scanners
	OpsAddr   string // OPS_ADDR: what the operators of the cluster use
	AdminAddr string // ADMIN_ADDR: profiles, where ENABLE_PPROF is set

	Drain  time.Duration // DRAIN: how long new connections are served after SIGTERM
	Budget time.Duration // BUDGET: the whole shutdown, from SIGTERM to the exit

	Switches switches.Config

	// For the workshop alone. MEASURE is a loopback address that tells what the
	// process holds; ROOT is where the cgroup files are looked for.
	MeasureAddr string
	Root        string
}

// ReadSettings reads the environment. The error names the variable.
func ReadSettings(lookup func(string) (string, bool)) (Settings, error) {
	get := func(key, def string) string {
		if v, ok := lookup(key); ok && v != "" {
			return v
		}
		return def
	}
	s := Settings{
		World:    get("DATABASE_URL", ""),
		HTTPAddr: get("HTTP_ADDR", ":8080"), ScanAddr: get("SCAN_ADDR", ":7070"),
		OpsAddr: get("OPS_ADDR", ":8081"), AdminAddr: get("ADMIN_ADDR", "127.0.0.1:6060"),
		MeasureAddr: get("MEASURE_ADDR", ""), Root: get("CGROUP_ROOT", "/"),
	}
	if u, err := url.Parse(s.World); err != nil || u.Scheme != "http" || u.Host == "" {
		return s, errors.New("DATABASE_URL: not set, or no http:// URL; `go run ./lessons/24_capstone/cmd/outside world` starts what it should name")
	}
	for key, v := range map[string]struct {
		d   *time.Duration
		def string
	}{"DRAIN": {&s.Drain, "5s"}, "BUDGET": {&s.Budget, "25s"}} {
		d, err := time.ParseDuration(get(key, v.def))
		if err != nil || d < 0 {
			return s, fmt.Errorf("%s=%q: not a duration, as 5s", key, get(key, v.def))
		}
		*v.d = d
	}
	if s.Drain >= s.Budget {
		return s, fmt.Errorf("BUDGET=%v: the whole shutdown, so more than the drain in it, DRAIN=%v", s.Budget, s.Drain)
	}
	var err error
	s.Switches, err = switches.Parse(lookup)
	return s, err
}
