package report_test

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pitstop/checker/probe"
	"pitstop/lessons/10_report"
	"pitstop/lessons/dispatch"
)

var day = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)

func TestBuild_GivesTheReport(t *testing.T) {
	rows := []report.Row{
		{Order: dispatch.Order{ID: "A-1001", Recipient: "Ada Lovelace", Grams: 1250}, Km: 4.5},
		{Order: dispatch.Order{ID: "A-1002", Recipient: "Jörg Müßig", Grams: 800}, Km: 12.345},
	}
	want := `delivered on 2026-11-23
A-1001     Ada Lovelace                1250 g      4.50 km
A-1002     Jörg Müßig                   800 g     12.35 km
2 orders, 2050 g, 16.84 km
`
	if spec(day, rows) != want {
		t.Fatalf("the test's own idea of the report is wrong:\n%s", spec(day, rows))
	}
	checkReport(t, "two rows", report.Build(day, rows), rows)
	var b strings.Builder
	if err := report.Write(&b, day, slices.Values(rows)); err != nil {
		probe.Errorf(t, "report.error", "Write to memory gave the error %q.", err)
	}
	checkReport(t, "two rows, by Write", b.String(), rows)
}

// Sixteen times the rows make sixteen times the report. Buffers that grow on
// the way take now more, now less: the promise decides, and the growth only
// gives a fault its name.
func TestBuild_MemoryGrowsAsTheReport(t *testing.T) {
	probe.NeedsPlainHeap(t)
	const short, long = 125, 2000
	small, _ := cost(func() { report.Build(day, orders(short)) })
	large, _ := cost(func() { report.Build(day, orders(long)) })
	size := len(spec(day, orders(long)))
	probe.Note(t, "size of a report of 2000 rows", size, "B")
	probe.Note(t, "bytes allocated for a report of 125 rows", small, "B")
	if probe.AtMost(t, "bytes allocated for a report of 2000 rows", large, ample(size), "B") {
		return
	}
	if growth := float64(large) / float64(max(small, 1)); growth > 4*long/short {
		probe.Errorf(t, "report.quadratic", "%d rows allocate %s and %d rows %s: %.0f times as much for %d times the rows. The report has %s, and %s would be ample.",
			short, probe.Bytes(small), long, probe.Bytes(large), growth, long/short, probe.Bytes(size), probe.Bytes(ample(size)))
		return
	}
	probe.Errorf(t, "report.waste", "a report of %s, %d rows, allocates %s; %s would be ample.",
		probe.Bytes(size), long, probe.Bytes(large), probe.Bytes(ample(size)))
}

// ample is how many bytes Build may allocate for a report of that size.
func ample(size int) int { return 8*size + 64<<10 }

func TestBuild_RowsDoNotAllocate(t *testing.T) {
	probe.NeedsPlainHeap(t)
	const n = 1000
	_, allocs := cost(func() { report.Build(day, orders(n)) })
	if !probe.AtMost(t, "allocations for 1000 rows", allocs, few(n), "allocations") {
		probe.Errorf(t, "report.allocs", "a report of %d rows makes %d allocations, %.1f a row; it may make one for every ten rows, and %d besides.",
			n, allocs, float64(allocs)/n, few(0))
	}
}

// few is how many allocations a report may make: one for every ten rows, and
// some for buffers that grow.
func few(rows int) int { return rows/10 + 64 }

func TestWrite_TellsTheErrorAndStops(t *testing.T) {
	taken, most := checkStops(t, orders(2000), 3000)
	probe.AtMost(t, "rows of 2000 taken for a writer that fails soon", taken, most, "rows")
}

// checkStops fails the test where Write does not stop, or says nothing, once its
// writer has failed after room bytes. It returns the rows that Write took, and
// how many it may take: those that fit into the slack may be on their way.
func checkStops(t *testing.T, rows []report.Row, room int) (taken, most int) {
	t.Helper()
	all := len(spec(day, rows))
	m := &meter{room: room}
	first := -1 // rows taken before the first byte was written
	m.during = func() {
		if first < 0 {
			first = taken
		}
	}
	err := write(t, m, func(yield func(report.Row) bool) {
		for _, r := range rows {
			taken++
			if !yield(r) {
				return
			}
		}
	})
	checkError(t, err, fmt.Sprintf("the writer failed after %d of %d bytes", room, all))
	if m.after > 0 {
		probe.Errorf(t, "report.goes_on", "the writer failed after %d bytes, and Write has written to it %d times since.", room, m.after)
	}
	most = len(rows)*(room+slack)/all + 1
	switch {
	case taken <= most:
	case first > most:
		probe.Errorf(t, "report.held", "Write had taken %d of %d rows when it wrote its first byte; it may hold back 64 KiB, which is %d rows.",
			first, len(rows), len(rows)*64<<10/all)
	default:
		probe.Errorf(t, "report.goes_on", "the writer failed after %d of %d bytes, and Write took %d of %d rows all the same; %d is the most that fit.",
			room, all, taken, len(rows), most)
	}
	return taken, most
}

func checkError(t *testing.T, err error, what string) {
	t.Helper()
	switch {
	case err == nil:
		probe.Errorf(t, "report.error", "%s, and Write gave no error.", what)
	case !errors.Is(err, errDisk):
		probe.Errorf(t, "report.error", "%s, and Write gave the error %q, which does not wrap its cause.", what, err)
	}
}

// write runs Write, and ends the test where it panics or does not come back.
func write(t *testing.T, m *meter, rows iter.Seq[report.Row]) (err error) {
	t.Helper()
	within(t, "Write", func() { err = report.Write(m, day, rows) })
	return err
}

func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		f()
	}()
	select {
	case p := <-done:
		if p != nil {
			probe.Fatalf(t, "report.panic", "%s panicked with %v.", what, p)
		}
	case <-time.After(4 * time.Second):
		probe.Fatalf(t, "report.hang", "%s was not back after 4 s.", what)
	}
}

// Write may hold back 64 KiB; a row more or less does not matter.
const slack = 68 << 10

// meter is a writer that counts, and fails once it has taken room bytes.
type meter struct {
	room         int
	bytes, calls int
	after        int // calls after the first error
	failed       bool
	late         bool   // it takes the last byte, and fails all the same
	during       func() // called by each Write
}

var errDisk = errors.New("the disk is full")

func (m *meter) Write(p []byte) (int, error) {
	m.calls++
	if m.failed {
		m.after++
	}
	if m.during != nil {
		m.during()
	}
	n := min(len(p), m.room-m.bytes)
	m.bytes += n
	if n < len(p) || m.late && m.bytes == m.room {
		m.failed = true
		return n, errDisk
	}
	return n, nil
}

// spec is the report as fmt gives it.
func spec(day time.Time, rows []report.Row) string {
	var b strings.Builder
	var grams int
	var km float64
	fmt.Fprintf(&b, "delivered on %s\n", day.Format("2006-01-02"))
	for _, r := range rows {
		fmt.Fprintf(&b, "%-10s %-24s %7d g %9.2f km\n", r.Order.ID, r.Order.Recipient, r.Order.Grams, r.Km)
		grams += r.Order.Grams
		km += r.Km
	}
	fmt.Fprintf(&b, "%d orders, %d g, %.2f km\n", len(rows), grams, km)
	return b.String()
}

// checkReport fails the test at the first line that is not as it should be.
func checkReport(t *testing.T, name, got string, rows []report.Row) {
	t.Helper()
	want := spec(day, rows)
	if got == want {
		return
	}
	g, w := strings.SplitAfter(got, "\n"), strings.SplitAfter(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			probe.Errorf(t, "report.bytes", "%s: line %d is %q instead of %q.", name, i+1, g[i], w[i])
			return
		}
	}
	probe.Errorf(t, "report.bytes", "%s: the report has %d bytes in %d lines instead of %d in %d.", name, len(got), len(g)-1, len(want), len(w)-1)
}

// orders gives n rows, the same each time. They are made once.
func orders(n int) []report.Row {
	for len(made) < n {
		i := len(made)
		made = append(made, report.Row{
			Order: dispatch.Order{ID: fmt.Sprintf("A-%06d", i), Recipient: names[i%len(names)], Grams: 50 + random.IntN(30_000)},
			Km:    random.Float64() * 400,
		})
	}
	return made[:n:n]
}

var (
	made   []report.Row
	random = rand.New(rand.NewPCG(1, 2))
	names  = []string{"Ada Lovelace", "Jörg Müßig", "Zażółć Gęślą", "Søren Kierkegård", "山田 太郎", "O'Neill & Sons, 100% Wool Ltd"}
)

// cost reports the bytes and the allocations of f: the least of five runs,
// because the runtime itself may allocate meanwhile.
func cost(f func()) (bytes, allocs uint64) {
	bytes, allocs = ^uint64(0), ^uint64(0)
	f()
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		bytes = min(bytes, after.TotalAlloc-before.TotalAlloc)
		allocs = min(allocs, after.Mallocs-before.Mallocs)
	}
	return bytes, allocs
}
