// finding: report.allocs
//
// strings.Join copies once, so nothing grows as the square. Each line lives on
// its own until then: several allocations a row.

// Package report writes dispatchd's end-of-day report: a line for each order
// that was delivered, and the totals below. Depots print it, and accounting
// software reads it by columns, so its form is fixed to the byte.
package report

import (
	"bufio"
	"io"
	"iter"
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

// Build returns the report of a day.
func Build(day time.Time, rows []Row) string {
	var t totals
	lines := []string{string(appendTitle(nil, day))}
	for _, r := range rows {
		lines = append(lines, string(appendRow(nil, r)))
		t.add(r)
	}
	lines = append(lines, string(appendTotals(nil, t)))
	return strings.Join(lines, "")
}

// Write writes the same report to w, row by row as they come from the
// database. It returns the first error of w, and then neither takes further
// rows nor writes any more. It does not close w.
func Write(w io.Writer, day time.Time, rows iter.Seq[Row]) error {
	var t totals
	b := bufio.NewWriter(w) // keeps the first error, and writes no more after it
	b.Write(appendTitle(b.AvailableBuffer(), day))
	for r := range rows {
		if _, err := b.Write(appendRow(b.AvailableBuffer(), r)); err != nil {
			return err
		}
		t.add(r)
	}
	b.Write(appendTotals(b.AvailableBuffer(), t))
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

func appendTitle(b []byte, day time.Time) []byte {
	b = append(b, "delivered on "...)
	b = day.AppendFormat(b, time.DateOnly)
	return append(b, '\n')
}

// appendRow appends the line "%-10s %-24s %7d g %9.2f km".
func appendRow(b []byte, r Row) []byte {
	b = padRight(b, r.Order.ID, 10)
	b = append(b, ' ')
	b = padRight(b, r.Order.Recipient, 24)
	b = append(b, ' ')
	var number [32]byte
	b = padLeft(b, strconv.AppendInt(number[:0], int64(r.Order.Grams), 10), 7)
	b = append(b, " g "...)
	b = padLeft(b, appendKm(number[:0], r.Km), 9)
	return append(b, " km\n"...)
}

func appendTotals(b []byte, t totals) []byte {
	b = strconv.AppendInt(b, int64(t.orders), 10)
	b = append(b, " orders, "...)
	b = strconv.AppendInt(b, int64(t.grams), 10)
	b = append(b, " g, "...)
	b = appendKm(b, t.km)
	return append(b, " km\n"...)
}

// appendKm appends km as "%.2f" does: fmt puts a sign before +Inf only.
func appendKm(b []byte, km float64) []byte {
	return strconv.AppendFloat(b, km, 'f', 2, 64)
}

func padRight(b []byte, s string, width int) []byte {
	b = append(b, s...)
	return spaces(b, width-utf8.RuneCountInString(s))
}

func padLeft(b, s []byte, width int) []byte {
	b = spaces(b, width-len(s))
	return append(b, s...)
}

func spaces(b []byte, n int) []byte {
	for range n {
		b = append(b, ' ')
	}
	return b
}
