// Makes room for 59 bytes a row. A line has 63 on average, so the text may grow
// once near its end: 1,000 rows allocate 73 KiB, and 2,000 rows 281 KiB.

// Package report writes dispatchd's end-of-day report: a line for each order
// that was delivered, and the totals below. Depots print it, and accounting
// software reads it by columns, so its form is fixed to the byte.
package report

import (
	"bufio"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"pitstop/lessons/dispatch"
)

// Row is one delivered order.
type Row struct {
	Order dispatch.Order
	Km    float64 // from the depot to the door
}

// bufferSize is how much Write may hold back.
const bufferSize = 8 << 10

// Build returns the report of a day.
func Build(day time.Time, rows []Row) string {
	var text strings.Builder
	text.Grow(len(rows) * 59)
	_ = Write(&text, day, slices.Values(rows)) // a Builder takes everything
	return text.String()
}

// Write writes the same report to w, row by row as they come from the
// database. It returns the first error of w, and then neither takes further
// rows nor writes any more. It does not close w.
func Write(w io.Writer, day time.Time, rows iter.Seq[Row]) error {
	p := page{out: bufio.NewWriterSize(plain{w}, bufferSize)}
	p.text("delivered on ")
	p.bytes(day.AppendFormat(p.scratch[:0], time.DateOnly))
	p.text("\n")

	var orders, grams int
	var km float64
	for r := range rows {
		if err := p.row(&r); err != nil {
			return err
		}
		orders++
		grams += r.Order.Grams
		km += r.Km
	}

	p.integer(orders, 0)
	p.text(" orders, ")
	p.integer(grams, 0)
	p.text(" g, ")
	p.float(km, 0)
	p.text(" km\n")
	return p.out.Flush() // tells any error since the last row, too
}

// page is a report in the making. The buffer below it remembers the first
// error, and writes nothing from then on.
type page struct {
	out     *bufio.Writer
	scratch [400]byte // the largest float64 has 309 digits before the point
}

// row writes what fmt makes of "%-10s %-24s %7d g %9.2f km\n". It tells the
// first error so far.
func (p *page) row(r *Row) error {
	p.left(r.Order.ID, 10)
	p.text(" ")
	p.left(r.Order.Recipient, 24)
	p.text(" ")
	p.integer(r.Order.Grams, 7)
	p.text(" g ")
	p.float(r.Km, 9)
	_, err := p.out.WriteString(" km\n")
	return err
}

func (p *page) text(s string)  { _, _ = p.out.WriteString(s) }
func (p *page) bytes(b []byte) { _, _ = p.out.Write(b) }

// left writes s and fills it up on its right.
func (p *page) left(s string, width int) {
	p.text(s)
	p.spaces(width - utf8.RuneCountInString(s))
}

// right writes an ASCII number and fills it up on its left.
func (p *page) right(num []byte, width int) {
	p.spaces(width - len(num))
	p.bytes(num)
}

func (p *page) integer(n, width int) {
	p.right(strconv.AppendInt(p.scratch[:0], int64(n), 10), width)
}

func (p *page) float(x float64, width int) {
	p.right(strconv.AppendFloat(p.scratch[:0], x, 'f', 2, 64), width)
}

func (p *page) spaces(n int) {
	for ; n > 0; n-- {
		_ = p.out.WriteByte(' ')
	}
}

// plain shows bufio nothing of a writer but Write, so that a *bufio.Writer of
// the caller's is not taken for our own, and WriteString is not used past it.
// It holds the writer to io.Writer's contract, where bufio would try again.
type plain struct{ w io.Writer }

func (p plain) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if n < len(b) && err == nil {
		err = io.ErrShortWrite
	}
	return n, err
}
