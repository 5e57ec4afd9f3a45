// Keeps fmt and its forms. The arguments are boxed once, as values of reflect
// that look into a cell, so rows do not allocate.

// Package report writes dispatchd's end-of-day report: a line for each order
// that was delivered, and the totals below. Depots print it, and accounting
// software reads it by columns, so its form is fixed to the byte.
package report

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"pitstop/lessons/dispatch"
)

// Row is one delivered order.
type Row struct {
	Order dispatch.Order
	Km    float64 // from the depot to the door
}

// The report's lines. Widths count letters, not bytes, as fmt does.
const (
	titleForm     = "delivered on %s\n" // 2006-01-02
	idForm        = "%-10s "
	recipientForm = "%-24s "
	gramsForm     = "%7d g "
	kmForm        = "%9.2f km\n"
	measureForm   = gramsForm + kmForm                   // weight, distance
	rowForm       = idForm + recipientForm + measureForm // order, recipient, weight, distance
	totalForm     = "%d orders, %d g, %.2f km\n"         // at the end, also of an empty day
)

const (
	// holdBack is how much text a page with a writer gathers.
	holdBack = 32 << 10
	// longName is a name that needs no filling up, as it has more letters than
	// any column, and that had better not go through fmt: fmt makes a copy.
	longName = 1 << 10
	// longDistance is wider than its column and than the numbers that fmt has
	// room for: it would make a buffer for it.
	longDistance = 1e50
)

// page is a report in the making. It is in memory once, for all its rows.
type page struct {
	text bytes.Buffer
	w    io.Writer // nil: everything stays in text
	cell struct {
		id, recipient string
		grams         int
		km            float64
	}
	// args are the cells, as fmt wants them: boxed, but only once. A
	// [reflect.Value] that is addressable shows what its cell holds when fmt
	// looks, and because the field is not exported, fmt does not copy it into
	// an interface of its own.
	args   []any
	orders int
	grams  int
	km     float64
}

func newPage(w io.Writer) *page {
	p := &page{w: w, args: make([]any, 0, 4)}
	cells := reflect.ValueOf(&p.cell).Elem()
	for i := range cells.NumField() {
		p.args = append(p.args, cells.Field(i))
	}
	return p
}

func (p *page) row(r *Row) error {
	p.cell.id, p.cell.recipient, p.cell.grams, p.cell.km = r.Order.ID, r.Order.Recipient, r.Order.Grams, r.Km
	p.orders++
	p.grams += r.Order.Grams
	p.km += r.Km
	if max(len(r.Order.ID), len(r.Order.Recipient)) < longName && math.Abs(r.Km) < longDistance {
		fmt.Fprintf(&p.text, rowForm, p.args...)
		return p.handOn(holdBack)
	}
	if err := p.name(r.Order.ID, idForm, p.args[0:1]); err != nil {
		return err
	}
	if err := p.name(r.Order.Recipient, recipientForm, p.args[1:2]); err != nil {
		return err
	}
	if x := math.Abs(r.Km); x < longDistance || math.IsInf(x, 0) || math.IsNaN(x) {
		fmt.Fprintf(&p.text, measureForm, p.args[2:]...)
	} else {
		fmt.Fprintf(&p.text, gramsForm, p.args[2])
		p.text.Grow(400) // the largest float64 has 309 digits before the point
		p.text.Write(strconv.AppendFloat(p.text.AvailableBuffer(), r.Km, 'f', 2, 64))
		p.text.WriteString(" km\n")
	}
	return p.handOn(holdBack)
}

func (p *page) name(s, form string, args []any) error {
	if len(s) < longName {
		fmt.Fprintf(&p.text, form, args...)
		return p.handOn(holdBack)
	}
	for p.w != nil && len(s) > 0 {
		n := min(len(s), max(holdBack-p.text.Len(), 0))
		p.text.WriteString(s[:n])
		s = s[n:]
		if err := p.handOn(holdBack); err != nil {
			return err
		}
	}
	p.text.WriteString(s)
	p.text.WriteByte(' ')
	return nil
}

// handOn gives the text to the writer if there is enough of it.
func (p *page) handOn(enough int) error {
	if p.w == nil || p.text.Len() < enough {
		return nil
	}
	n, err := p.w.Write(p.text.Bytes())
	if err == nil && n < p.text.Len() {
		err = io.ErrShortWrite
	}
	p.text.Reset()
	return err
}

// fill makes the whole report.
func (p *page) fill(day time.Time, rows iter.Seq[Row]) error {
	fmt.Fprintf(&p.text, titleForm, day.Format(time.DateOnly))
	for r := range rows {
		if err := p.row(&r); err != nil {
			return err
		}
	}
	fmt.Fprintf(&p.text, totalForm, p.orders, p.grams, p.km)
	return p.handOn(1)
}

// Build returns the report of a day.
func Build(day time.Time, rows []Row) string {
	p := newPage(nil)
	p.text.Grow(estimate(rows))
	_ = p.fill(day, slices.Values(rows)) // only a writer can fail
	return p.text.String()
}

// estimate is the size of a report whose numbers fit their columns.
func estimate(rows []Row) int {
	size := 128
	for i := range rows {
		o := &rows[i].Order
		size += len(o.ID) + max(10-utf8.RuneCountInString(o.ID), 0)
		size += len(o.Recipient) + max(24-utf8.RuneCountInString(o.Recipient), 0)
		size += len("  1234567 g 123456.78 km\n")
	}
	return size
}

// Write writes the same report to w, row by row as they come from the
// database. It returns the first error of w, and then neither takes further
// rows nor writes any more. It does not close w.
func Write(w io.Writer, day time.Time, rows iter.Seq[Row]) error {
	p := newPage(w)
	p.text.Grow(holdBack + 4*longName)
	return p.fill(day, rows)
}

// A name of longName bytes has at least this many letters, so no column is
// wider.
var _ [longName/utf8.UTFMax - 24]struct{}
