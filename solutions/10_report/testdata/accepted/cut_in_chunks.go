// An iterator over chunks of equal length, whatever the rows are. Build gathers
// them; Write hands them on, and its return stops the rows as well.

// Package report writes dispatchd's end-of-day report: a line for each order
// that was delivered, and the totals below. Depots print it, and accounting
// software reads it by columns, so its form is fixed to the byte.
package report

import (
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

// chunkSize is the length of each chunk of a report but the last.
const chunkSize = 4 << 10

// Build returns the report of a day.
func Build(day time.Time, rows []Row) string {
	var text strings.Builder
	text.Grow(estimate(rows))
	for c := range chunks(day, slices.Values(rows)) {
		text.Write(c)
	}
	return text.String()
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
	for c := range chunks(day, rows) {
		n, err := w.Write(c)
		if err != nil {
			return err
		}
		if n != len(c) {
			return io.ErrShortWrite
		}
	}
	return nil
}

// chunks cuts a report in pieces of chunkSize. A piece is good until the next
// one is asked for. Who stops asking stops the rows as well.
func chunks(day time.Time, rows iter.Seq[Row]) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		c := &cutter{yield: yield, chunk: make([]byte, 0, chunkSize)}
		var (
			date [64]byte
			sum  Row // of all the rows
			n    int
		)
		ok := c.put("delivered on ") && putAny(c, day.AppendFormat(date[:0], time.DateOnly)) && c.put("\n")
		if !ok {
			return
		}
		for r := range rows {
			if !c.row(&r) {
				return
			}
			n++
			sum.Order.Grams += r.Order.Grams
			sum.Km += r.Km
		}
		_ = c.int(n, 0) && c.put(" orders, ") && c.int(sum.Order.Grams, 0) && c.put(" g, ") && c.float(sum.Km, 0) && c.put(" km\n") &&
			len(c.chunk) > 0 && yield(c.chunk)
	}
}

// cutter gathers text, and yields it whenever a chunk is full. Its methods
// return false once nobody wants any more.
type cutter struct {
	yield func([]byte) bool
	chunk []byte
	num   [maxNum]byte
}

// maxNum is enough for any number: -1.8e308 has a sign, 309 digits, a point and
// two digits more.
const maxNum = 400

// row is "%-10s %-24s %7d g %9.2f km\n".
func (c *cutter) row(r *Row) bool {
	return c.name(r.Order.ID, 10) && c.put(" ") &&
		c.name(r.Order.Recipient, 24) && c.put(" ") &&
		c.int(r.Order.Grams, 7) && c.put(" g ") &&
		c.float(r.Km, 9) && c.put(" km\n")
}

func (c *cutter) put(s string) bool { return putAny(c, s) }

func (c *cutter) name(s string, width int) bool {
	return c.put(s) && c.space(width-utf8.RuneCountInString(s))
}

func (c *cutter) int(i, width int) bool {
	num := strconv.AppendInt(c.num[:0], int64(i), 10)
	return c.space(width-len(num)) && putAny(c, num)
}

func (c *cutter) float(f float64, width int) bool {
	num := strconv.AppendFloat(c.num[:0], f, 'f', 2, 64)
	return c.space(width-len(num)) && putAny(c, num)
}

func (c *cutter) space(n int) bool {
	const blank = "                                "
	return n <= 0 || c.put(blank[:n])
}

func putAny[T string | []byte](c *cutter, s T) bool {
	for len(s) > 0 {
		n := copy(c.chunk[len(c.chunk):cap(c.chunk)], s)
		c.chunk = c.chunk[:len(c.chunk)+n]
		s = s[n:]
		if len(c.chunk) == cap(c.chunk) {
			if !c.yield(c.chunk) {
				return false
			}
			c.chunk = c.chunk[:0]
		}
	}
	return true
}
