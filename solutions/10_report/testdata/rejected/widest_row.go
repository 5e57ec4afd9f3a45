// finding: report.waste
//
// Counts the widest row first and makes room for all rows as wide as that. One long name, and
// the report allocates many times its size.

// Package report writes dispatchd's end-of-day report: a line for each order
// that was delivered, and the totals below. Depots print it, and accounting
// software reads it by columns, so its form is fixed to the byte.
package report

import (
	"bufio"
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

// The report's lines, as fmt would write them. Widths count letters, not bytes.
//
//	delivered on %s\n                       2006-01-02
//	%-10s %-24s %7d g %9.2f km\n           order, recipient, weight, distance
//	%d orders, %d g, %.2f km\n             at the end, also of an empty day

// totals are what the last line says.
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

func appendTitle(b []byte, day time.Time) []byte {
	b = append(b, "delivered on "...)
	b = day.AppendFormat(b, time.DateOnly)
	return append(b, '\n')
}

func (t *totals) append(b []byte) []byte {
	b = strconv.AppendInt(b, int64(t.orders), 10)
	b = append(b, " orders, "...)
	b = strconv.AppendInt(b, int64(t.grams), 10)
	b = append(b, " g, "...)
	b = strconv.AppendFloat(b, t.km, 'f', 2, 64)
	return append(b, " km\n"...)
}

func appendRow(b []byte, r Row) []byte {
	b = appendLeft(b, r.Order.ID, 10)
	b = append(b, ' ')
	b = appendLeft(b, r.Order.Recipient, 24)
	b = append(b, ' ')
	var scratch [400]byte // the widest float has 309 digits before the point
	b = appendRight(b, strconv.AppendInt(scratch[:0], int64(r.Order.Grams), 10), 7)
	b = append(b, " g "...)
	b = appendRight(b, strconv.AppendFloat(scratch[:0], r.Km, 'f', 2, 64), 9)
	return append(b, " km\n"...)
}

// appendRight appends a number that stands at the right of its column.
func appendRight(b, number []byte, width int) []byte {
	for n := len(number); n < width; n++ {
		b = append(b, ' ')
	}
	return append(b, number...)
}

// appendLeft appends a text that stands at the left of its column.
func appendLeft(b []byte, text string, width int) []byte {
	b = append(b, text...)
	for n := utf8.RuneCountInString(text); n < width; n++ {
		b = append(b, ' ')
	}
	return b
}

// rowSize is the most that a row takes but for its texts.
const rowSize = 64

// Build returns the report of a day.
func Build(day time.Time, rows []Row) string {
	// Room for everything at once, so that it never grows.
	widest := 10 + 24
	for _, r := range rows {
		widest = max(widest, len(r.Order.ID)+len(r.Order.Recipient))
	}
	b := make([]byte, 0, (len(rows)+2)*(rowSize+widest))

	var t totals
	b = appendTitle(b, day)
	for _, r := range rows {
		b = appendRow(b, r)
		t.add(r)
	}
	return string(t.append(b))
}

// Write writes the same report to w, row by row as they come from the
// database. It returns the first error of w, and then neither takes further
// rows nor writes any more. It does not close w.
func Write(w io.Writer, day time.Time, rows iter.Seq[Row]) error {
	var t totals
	bw := bufio.NewWriterSize(w, 16<<10)
	line := appendTitle(make([]byte, 0, 256), day) // used again for each line
	if _, err := bw.Write(line); err != nil {
		return err
	}
	for r := range rows {
		line = appendRow(line[:0], r)
		if _, err := bw.Write(line); err != nil {
			return err
		}
		t.add(r)
	}
	if _, err := bw.Write(t.append(line[:0])); err != nil {
		return err
	}
	return bw.Flush()
}
