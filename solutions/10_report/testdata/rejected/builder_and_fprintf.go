// finding: report.allocs
//
// The mend that is widely copied. The report grows in one place, and each row
// still puts its fields into interfaces: up to four allocations a row.

// Package report writes dispatchd's end-of-day report: a line for each order
// that was delivered, and the totals below. Depots print it, and accounting
// software reads it by columns, so its form is fixed to the byte.
package report

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"pitstop/lessons/dispatch"
)

// Row is one delivered order.
type Row struct {
	Order dispatch.Order
	Km    float64 // from the depot to the door
}

// The report's lines. Widths count letters, not bytes, as fmt does.
const (
	titleForm = "delivered on %s\n"            // 2006-01-02
	rowForm   = "%-10s %-24s %7d g %9.2f km\n" // order, recipient, weight, distance
	totalForm = "%d orders, %d g, %.2f km\n"   // at the end, also of an empty day
)

// Build returns the report of a day.
func Build(day time.Time, rows []Row) string {
	var t totals
	var b strings.Builder
	fmt.Fprintf(&b, titleForm, day.Format(time.DateOnly))
	for _, r := range rows {
		fmt.Fprintf(&b, rowForm, r.Order.ID, r.Order.Recipient, r.Order.Grams, r.Km)
		t.add(r)
	}
	fmt.Fprintf(&b, totalForm, t.orders, t.grams, t.km)
	return b.String()
}

// Write writes the same report to w, row by row as they come from the
// database. It returns the first error of w, and then neither takes further
// rows nor writes any more. It does not close w.
func Write(w io.Writer, day time.Time, rows iter.Seq[Row]) error {
	var t totals
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, titleForm, day.Format(time.DateOnly))
	for r := range rows {
		if _, err := fmt.Fprintf(b, rowForm, r.Order.ID, r.Order.Recipient, r.Order.Grams, r.Km); err != nil {
			return err
		}
		t.add(r)
	}
	fmt.Fprintf(b, totalForm, t.orders, t.grams, t.km)
	return b.Flush()
}

// totals is what stands in the last line.
type totals struct {
	orders, grams int
	km            float64
}

func (t *totals) add(r Row) {
	t.orders++
	t.grams += r.Order.Grams
	t.km += r.Km
}
