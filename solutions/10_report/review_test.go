//go:build review

package report_test

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pitstop/checker/probe"
	"pitstop/lessons/10_report"
	"pitstop/lessons/dispatch"
)

func TestReview_EveryReportIsTheSameToTheByte(t *testing.T) {
	row := func(id, name string, grams int, km float64) report.Row {
		return report.Row{Order: dispatch.Order{ID: id, Recipient: name, Grams: grams, Depot: "Ulm", Address: "Lindengasse 4"}, Km: km}
	}
	cases := map[string][]report.Row{
		"an empty report":                      nil,
		"a row of zeros":                       {{}},
		"a name that is not ASCII":             {row("A-1", "Zażółć Gęślą", 7, 1), row("Ä-2", "山田 太郎", 7, 1), row("A-3", "Zoe\u0301", 7, 1)},
		"a name that is not UTF-8":             {row("A-\xff", "M\xfc\xdfig", 7, 1)},
		"a name longer than its column":        {row("A-1234567890-1234", strings.Repeat("Åse ", 20), 1, 1)},
		"a name as long as its column":         {row("A-12345678", strings.Repeat("ü", 24), 1, 1)},
		"a name with a percent sign":           {row("%d", "100%s Wool %!", 1, 1)},
		"weights as wide as their column":      {row("A-1", "Ada", 9_999_999, 1), row("A-2", "Ada", 10_000_000, 1), row("A-3", "Ada", math.MaxInt64-20_000_000, 1)},
		"a weight below zero":                  {row("A-1", "Ada", -12, 1), row("A-2", "Ada", -12_345_678, 1)},
		"distances that must be rounded":       {row("A-1", "Ada", 1, 1.005), row("A-2", "Ada", 1, 2.675), row("A-3", "Ada", 1, 0.125), row("A-4", "Ada", 1, 999_999.995)},
		"a distance below zero":                {row("A-1", "Ada", 1, -0.001), row("A-2", "Ada", 1, math.Copysign(0, -1))},
		"distances longer than their column":   {row("A-1", "Ada", 1, 1e9), row("A-2", "Ada", 1, 1e21), row("A-3", "Ada", 1, math.MaxFloat64)},
		"a distance that is no number":         {row("A-1", "Ada", 1, math.NaN())},
		"a distance without end":               {row("A-1", "Ada", 1, math.Inf(1)), row("A-2", "Ada", 1, 1)},
		"a distance without end below zero":    {row("A-1", "Ada", 1, math.Inf(-1))},
		"200 rows":                             orders(200),
		"rows made by chance, always the same": chance(300),
	}
	for name, rows := range cases {
		checkReport(t, name, report.Build(day, rows), rows)
		var b strings.Builder
		if err := report.Write(&b, day, slices.Values(rows)); err != nil {
			probe.Errorf(t, "report.error", "Write to memory gave the error %q with %s.", err, name)
		}
		checkReport(t, name+", by Write", b.String(), rows)
	}
	if got, want := report.Build(time.Time{}, nil), spec(time.Time{}, nil); got != want {
		probe.Errorf(t, "report.bytes", "the report of the zero day is %q instead of %q.", got, want)
	}
	if got, want := report.Build(time.Date(12345, 1, 2, 0, 0, 0, 0, time.UTC), nil), spec(time.Date(12345, 1, 2, 0, 0, 0, 0, time.UTC), nil); got != want {
		probe.Errorf(t, "report.bytes", "the report of a far day is %q instead of %q.", got, want)
	}
}

func chance(n int) []report.Row {
	r := rand.New(rand.NewPCG(3, 4))
	letters := []rune("aäßł山é %\t\\\"0")
	rows := make([]report.Row, n)
	for i := range rows {
		var name []rune
		for range r.IntN(40) {
			name = append(name, letters[r.IntN(len(letters))])
		}
		rows[i].Order = dispatch.Order{ID: string(name[:len(name)/2]), Recipient: string(name), Grams: int(r.Int64()) >> r.IntN(64)}
		rows[i].Km = math.Ldexp(r.Float64()-0.5, r.IntN(60)-8)
	}
	return rows
}

func TestReview_BuildTakesWhatItNeeds(t *testing.T) {
	probe.NeedsPlainHeap(t)
	take := func(name string, rows []report.Row) (allocs uint64) {
		got, allocs := cost(func() { report.Build(day, rows) })
		size := len(spec(day, rows))
		if !probe.AtMost(t, "bytes allocated for a report of "+name, got, ample(size), "B") {
			probe.Errorf(t, "report.waste", "a report of %s, %s, allocates %s; %s would be ample.",
				probe.Bytes(size), name, probe.Bytes(got), probe.Bytes(ample(size)))
		}
		return allocs
	}
	for name, rows := range map[string][]report.Row{
		"1 row": orders(1), "30 rows": orders(30), "1000 rows": orders(1000), "20000 rows": orders(20_000),
	} {
		if allocs := take(name, rows); !probe.AtMost(t, "allocations for a report of "+name, allocs, few(len(rows)), "allocations") {
			probe.Errorf(t, "report.allocs", "a report of %s makes %d allocations; it may make one for every ten rows, and %d besides.", name, allocs, few(0))
		}
	}
	wide := slices.Clone(orders(1000))
	wide[500].Order.Recipient = strings.Repeat("Maria ", 1<<10)
	take("1000 rows, one with a name of 6 KiB", wide) // a long name may allocate as often as it likes
}

func TestReview_WriteTellsTheErrorAndStops(t *testing.T) {
	rows := orders(5000)
	all := len(spec(day, rows))
	for _, room := range []int{0, 10, 3000, all / 2, all - 5000, all - 1} {
		checkStops(t, rows, room)
	}
	m := &meter{room: all}
	if err := write(t, m, slices.Values(rows)); err != nil {
		probe.Errorf(t, "report.error", "Write gave %q, though the writer took all %d bytes.", err, all)
	}
	m = &meter{room: all, late: true}
	checkError(t, write(t, m, slices.Values(rows)), fmt.Sprintf("the writer took all %d bytes and failed with the last one", all))
}

// Rows come from a database, one after the other: Write asks for none that it
// cannot hand on any more.
func TestReview_NoRowAfterTheError(t *testing.T) {
	rows := orders(5000)
	all := len(spec(day, rows))
	for _, room := range []int{0, 3000, all / 2} {
		taken, atError := 0, -1
		w := observed{&meter{room: room}, func() { atError = taken }}
		var err error
		within(t, "Write", func() {
			err = report.Write(w, day, func(yield func(report.Row) bool) {
				for _, r := range rows {
					taken++
					if !yield(r) {
						return
					}
				}
			})
		})
		checkError(t, err, fmt.Sprintf("the writer failed after %d of %d bytes", room, all))
		if atError >= 0 && taken > atError {
			probe.Errorf(t, "report.goes_on", "the writer failed after %d of %d bytes, when Write had taken %d rows, and then it took %d more.", room, all, atError, taken-atError)
		}
	}
}

// observed is a meter that tells of its first error.
type observed struct {
	*meter
	failing func()
}

func (o observed) Write(p []byte) (int, error) {
	before := o.failed
	n, err := o.meter.Write(p)
	if err != nil && !before {
		o.failing()
	}
	return n, err
}

// A row may be held whole, however long. The next ones may not be held with it.
func TestReview_LongRowIsForgotten(t *testing.T) {
	rows := orders(2000)
	long := rows[0]
	long.Order.Recipient = strings.Repeat("Maria ", 1<<18)
	each, first := len(spec(day, rows))/len(rows), len(spec(day, []report.Row{long}))
	m, lag := &meter{room: math.MaxInt}, 0
	write(t, m, func(yield func(report.Row) bool) {
		if !yield(long) {
			return
		}
		for i := range 10 * len(rows) {
			if i >= len(rows) { // by now it is written
				lag = max(lag, first+i*each-m.bytes)
			}
			if !yield(rows[i%len(rows)]) {
				return
			}
		}
	})
	if !probe.AtMost(t, "bytes held back after a long row", lag, slack, "B") {
		probe.Errorf(t, "report.held", "One row had a name of 1.5 MiB, and 2000 rows and more after it Write held back %s; %s may be on its way.", probe.Bytes(lag), probe.Bytes(slack))
	}
}

func TestReview_WriteHoldsNoReport(t *testing.T) {
	probe.NeedsPlainHeap(t)
	rows := orders(2000)
	const times = 10
	each := len(spec(day, rows)) / len(rows)
	many := func(m *meter, lag *int) iter.Seq[report.Row] {
		return func(yield func(report.Row) bool) {
			for i := range times * len(rows) {
				*lag = max(*lag, i*each-m.bytes)
				if !yield(rows[i%len(rows)]) {
					return
				}
			}
		}
	}
	m, lag := &meter{room: math.MaxInt}, 0
	write(t, m, many(m, &lag))
	if !probe.AtMost(t, "bytes of the report held back", lag, slack, "B") {
		probe.Errorf(t, "report.held", "Write held back %s of a report of %s; %s may be on its way, so that a large day does not fill the memory.",
			probe.Bytes(lag), probe.Bytes(m.bytes), probe.Bytes(slack))
	}
	const fewest = 2 << 10
	if !probe.AtMost(t, "calls of the writer", m.calls, m.bytes/fewest+2, "calls") {
		probe.Errorf(t, "report.writes", "Write called the writer %d times for %s, %d bytes at a time: for a file or a connection each is a system call. %d bytes at a time would do.",
			m.calls, probe.Bytes(m.bytes), m.bytes/m.calls, fewest)
	}

	got, allocs := cost(func() {
		m := &meter{room: math.MaxInt}
		var lag int
		report.Write(m, day, many(m, &lag))
	})
	// A slice that grows to 64 KiB by append leaves five times that behind.
	const most = 512 << 10
	if !probe.AtMost(t, "bytes allocated by Write", got, most, "B") {
		probe.Errorf(t, "report.held", "Write allocates %s for a report of %s; %s would be ample, as a buffer that was written out can be used again.",
			probe.Bytes(got), probe.Bytes(m.bytes), probe.Bytes(most))
	}
	if !probe.AtMost(t, "allocations by Write for 20000 rows", allocs, few(times*len(rows)), "allocations") {
		probe.Errorf(t, "report.allocs", "Write makes %d allocations for %d rows; it may make one for every ten rows, and %d besides.", allocs, times*len(rows), few(0))
	}
}

// Reports are made side by side, and one may be under way while another is
// asked for: here by the rows and by the writer of the first.
func TestReview_ReportsDoNotMeet(t *testing.T) {
	rows := orders(400)
	var built []string
	other := []report.Row{{Order: dispatch.Order{ID: "B-1", Recipient: "Grace Hopper", Grams: 3}, Km: 2}}
	nested := func() { built = append(built, report.Build(day, other)) }
	var b strings.Builder
	m := &meter{room: math.MaxInt, during: nested}
	within(t, "Write, while its rows and its writer ask for another report,", func() {
		report.Write(writers{&b, m}, day, func(yield func(report.Row) bool) {
			for _, r := range rows {
				nested()
				if !yield(r) {
					return
				}
			}
		})
	})
	if b.String() != spec(day, rows) {
		probe.Errorf(t, "report.shared", "a report that is written while others are built differs from one that is written alone.")
	}
	for _, got := range built {
		if got != spec(day, other) {
			probe.Fatalf(t, "report.shared", "a report that is built while another is written is %q instead of %q.", got, spec(day, other))
		}
	}
	first := report.Build(day, rows[:3])
	report.Build(day, rows[3:6])
	if first != spec(day, rows[:3]) {
		probe.Errorf(t, "report.shared", "a report changes when the next one is built.")
	}
}

// writers gives each write to both, as io.MultiWriter does.
type writers struct {
	b *strings.Builder
	m *meter
}

func (w writers) Write(p []byte) (int, error) {
	w.m.Write(p)
	return w.b.Write(p)
}
