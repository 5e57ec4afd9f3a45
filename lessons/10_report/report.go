// Package report writes dispatchd's end-of-day report: a line for each order
// that was delivered, and the totals below. Depots print it, and accounting
// software reads it by columns, so its form is fixed to the byte.
package report

import (
	"fmt"
	"io"
	"iter"
	"slices"
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

// page is a report in the making.
type page struct {
	text   string
	orders int
	grams  int
	km     float64
}

func (p *page) printf(form string, args ...any) {
	p.text += fmt.Sprintf(form, args...)
}

func (p *page) row(r Row) {
	p.printf(rowForm, r.Order.ID, r.Order.Recipient, r.Order.Grams, r.Km)
	p.orders++
	p.grams += r.Order.Grams
	p.km += r.Km
}

// Build returns the report of a day.
func Build(day time.Time, rows []Row) string {
	var p page
	p.printf(titleForm, day.Format(time.DateOnly))
	for _, r := range rows {
		p.row(r)
	}
	p.printf(totalForm, p.orders, p.grams, p.km)
	return p.text
}

// Write writes the same report to w, row by row as they come from the
// database. It returns the first error of w, and then neither takes further
// rows nor writes any more. It does not close w.
func Write(w io.Writer, day time.Time, rows iter.Seq[Row]) error {
	_, err := io.WriteString(w, Build(day, slices.Collect(rows)))
	return err
}
