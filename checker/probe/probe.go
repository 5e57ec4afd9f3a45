// Package probe holds the instruments of the lessons' tests: goroutines,
// retained bytes, subprocesses with real signals. A test measures, publishes
// the figure as evidence, and where the figure is out of bounds reports a
// finding: a sentence for the learner with a stable code.
//
// Evidence and findings travel as test attributes, so that a plain go test
// says the same as the checker does, in plainer words.
package probe

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"pitstop/checker/probe/wire"
)

// Number is any figure that a test may publish.
type Number interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 |
		~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr |
		~float32 | ~float64
}

// AtMost publishes a figure that must not exceed limit, and reports whether it
// holds. It fails nothing by itself: say what is wrong with [Errorf].
func AtMost[N, L Number](t testing.TB, name string, now N, limit L, unit string) bool {
	t.Helper()
	bounded(t, name, float64(now), float64(limit), unit, "max")
	return float64(now) <= float64(limit)
}

// AtLeast publishes a figure that must reach limit, and reports whether it does.
func AtLeast[N, L Number](t testing.TB, name string, now N, limit L, unit string) bool {
	t.Helper()
	bounded(t, name, float64(now), float64(limit), unit, "min")
	return float64(now) >= float64(limit)
}

// Equal publishes a figure that must be want exactly, and reports whether it is.
func Equal[N, L Number](t testing.TB, name string, now N, want L, unit string) bool {
	t.Helper()
	bounded(t, name, float64(now), float64(want), unit, "equal")
	return float64(now) == float64(want)
}

// Note publishes a figure that has no limit.
func Note[N Number](t testing.TB, name string, now N, unit string) {
	t.Helper()
	publish(t, wire.EvidenceKey, wire.Evidence{Name: name, Unit: unit, Now: float64(now)})
}

// Errorf marks the test as failed for the stated reason. The code is stable
// and dotted, as in "pool.unbounded"; the message says what was observed, in
// numbers, in one sentence. Several findings may come from one test.
func Errorf(t testing.TB, code, format string, args ...any) {
	t.Helper()
	message := fmt.Sprintf(format, args...)
	publish(t, wire.FindingKey, wire.Finding{Code: code, Message: message})
	t.Errorf("%s: %s", code, message)
}

// Fatalf is [Errorf] followed by the end of the test.
func Fatalf(t testing.TB, code, format string, args ...any) {
	t.Helper()
	message := fmt.Sprintf(format, args...)
	publish(t, wire.FindingKey, wire.Finding{Code: code, Message: message})
	t.Fatalf("%s: %s", code, message)
}

func bounded(t testing.TB, name string, now, limit float64, unit, bound string) {
	t.Helper()
	publish(t, wire.EvidenceKey, wire.Evidence{Name: name, Unit: unit, Now: now, Limit: &limit, Bound: bound})
}

func publish(t testing.TB, key string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("probe: publish %s: %v", key, err)
	}
	t.Attr(key, string(b))
}

// Bytes renders a size the way a learner reads it: 20 B, 8.0 MiB.
func Bytes[N Number](n N) string {
	f, units := float64(n), []string{"B", "KiB", "MiB", "GiB"}
	i := 0
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	if i == 0 {
		return strconv.FormatFloat(f, 'f', 0, 64) + " B"
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " " + units[i]
}
