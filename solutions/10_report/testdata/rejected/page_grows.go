// finding: report.held
//
// A page is handed on when it is full, and a long row makes it larger for good.

// Package report writes dispatchd's end-of-day report: a line for each order
// that was delivered, and the totals below. Depots print it, and accounting
// software reads it by columns, so its form is fixed to the byte.
package report

import (
	"io"
	"iter"
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

// totals are what stands below the rows.
type totals struct {
	orders int
	grams  int
	km     float64
}

func (t *totals) add(r Row) {
	t.orders++
	t.grams += r.Order.Grams
	t.km += r.Km
}

// Build returns the report of a day.
func Build(day time.Time, rows []Row) string {
	size := 128
	for _, r := range rows {
		size += rowSize(r)
	}
	b := appendTitle(make([]byte, 0, size), day)
	var t totals
	for _, r := range rows {
		b = appendRow(b, r)
		t.add(r)
	}
	return string(appendTotals(b, t))
}

// Write writes the same report to w, row by row as they come from the
// database. It returns the first error of w, and then neither takes further
// rows nor writes any more. It does not close w.
func Write(w io.Writer, day time.Time, rows iter.Seq[Row]) error {
	b := appendTitle(make([]byte, 0, pageSize), day)
	var t totals
	for r := range rows {
		if len(b) > 0 && len(b)+rowSize(r) > cap(b) {
			if err := writeAll(w, b); err != nil {
				return err
			}
			b = b[:0]
		}
		b = appendRow(b, r)
		t.add(r)
	}
	return writeAll(w, appendTotals(b, t))
}

const pageSize = 32 << 10

func writeAll(w io.Writer, b []byte) error {
	n, err := w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// rowSize is how long a row's line is at most, but for very wide numbers.
func rowSize(r Row) int { return max(10, len(r.Order.ID)) + max(24, len(r.Order.Recipient)) + 64 }

func appendTitle(b []byte, day time.Time) []byte {
	b = append(b, "delivered on "...)
	return append(day.AppendFormat(b, time.DateOnly), '\n')
}

func appendRow(b []byte, r Row) []byte {
	b = appendLeft(b, r.Order.ID, 10)
	b = append(b, ' ')
	b = appendLeft(b, r.Order.Recipient, 24)
	b = append(b, ' ')
	var scratch [32]byte
	b = appendRight(b, strconv.AppendInt(scratch[:0], int64(r.Order.Grams), 10), 7)
	b = append(b, " g "...)
	b = appendRight(b, appendKm(scratch[:0], r.Km), 9)
	return append(b, " km\n"...)
}

func appendTotals(b []byte, t totals) []byte {
	b = strconv.AppendInt(b, int64(t.orders), 10)
	b = append(b, " orders, "...)
	b = strconv.AppendInt(b, int64(t.grams), 10)
	b = append(b, " g, "...)
	b = strconv.AppendFloat(b, t.km, 'f', 2, 64)
	return append(b, " km\n"...)
}

func appendKm(b []byte, km float64) []byte { return strconv.AppendFloat(b, km, 'f', 2, 64) }

func appendLeft(b []byte, s string, width int) []byte {
	b = append(b, s...)
	for n := utf8.RuneCountInString(s); n < width; n++ {
		b = append(b, ' ')
	}
	return b
}

func appendRight(b, number []byte, width int) []byte {
	for n := len(number); n < width; n++ {
		b = append(b, ' ')
	}
	return append(b, number...)
}
