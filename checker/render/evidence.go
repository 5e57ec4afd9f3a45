package render

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"charm.land/lipgloss/v2"

	"pitstop/checker/verdict"
)

func evidence(list []verdict.Evidence, columns, most int) string {
	list = worst(list)
	slices.SortStableFunc(list, func(a, b verdict.Evidence) int { return order(a) - order(b) })
	more := max(0, len(list)-most)
	list = list[:len(list)-more]
	rows := [][]string{{"evidence", "before", "now", "limit"}}
	known := slices.ContainsFunc(list, func(e verdict.Evidence) bool { return e.Before != nil })
	for _, e := range list {
		row := []string{e.Name, "", Figure(e.Now, e.Unit), ""}
		if e.Before != nil {
			row[1] = bare(*e.Before, e.Unit)
		}
		if e.Limit != nil {
			row[3] = map[string]string{"min": "≥ ", "equal": "= ", "max": "≤ "}[e.Bound] + bare(*e.Limit, e.Unit)
		}
		rows = append(rows, row)
	}
	var w [4]int
	for _, r := range rows {
		for i, c := range r {
			w[i] = max(w[i], lipgloss.Width(c))
		}
	}
	rest := 2 + 3 + w[2] + 3 + w[3] + 3 // of a line besides the name
	if before := w[1] + 3; known && columns-rest-before < min(w[0], 20) {
		known = false // the names matter more
	} else if known {
		rest += before
	}
	w[0] = min(w[0], 44, max(12, columns-rest))
	var b strings.Builder
	for i, r := range rows {
		line := "  " + pad(clip(r[0], w[0]), w[0], false) + "   "
		if known {
			arrow := " → "
			if r[1] == "" || i == 0 {
				arrow = "   "
			}
			line += pad(r[1], w[1], true) + arrow
		}
		line += pad(r[2], w[2], true) + "   " + pad(r[3], w[3], false)
		switch {
		case i == 0:
			line = faint.Render(strings.TrimRight(line, " "))
		case list[i-1].Limit == nil:
		case list[i-1].Holds():
			line += "  " + good.Render("✓")
		default:
			line += "  " + bad.Render("✗")
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if more > 0 {
		fmt.Fprintf(&b, "  %s\n", faint.Render(fmt.Sprintf("… and %d more", more)))
	}
	return b.String()
}

func limit(e verdict.Evidence) string {
	return map[string]string{"min": "at least ", "equal": "", "max": "at most "}[e.Bound] + Figure(*e.Limit, e.Unit)
}

// worst keeps one of the figures that several tests publish by the same name:
// the first that is out of its bound, or else the first.
func worst(list []verdict.Evidence) []verdict.Evidence {
	var kept []verdict.Evidence
	at := map[string]int{}
	for _, e := range list {
		i, seen := at[e.Name]
		switch {
		case !seen:
			at[e.Name] = len(kept)
			kept = append(kept, e)
		case kept[i].Holds() && !e.Holds():
			kept[i] = e
		}
	}
	return kept
}

// order puts what is out of bounds first, and figures without a limit last.
func order(e verdict.Evidence) int {
	switch {
	case !e.Holds():
		return 0
	case e.Limit != nil:
		return 1
	default:
		return 2
	}
}

// bare renders a number without its unit, where a figure with it stands
// beside. A size is nothing without one.
func bare(n float64, unit string) string {
	if isBytes(unit) {
		return Figure(n, unit)
	}
	return number(n)
}

func isBytes(unit string) bool { return unit == "B" || unit == "bytes" || unit == "byte" }

// Figure renders a number with its unit, bytes in binary multiples.
func Figure(n float64, unit string) string {
	switch {
	case isBytes(unit):
		units := []string{"B", "KiB", "MiB", "GiB"}
		i := 0
		for math.Abs(n) >= 1024 && i < len(units)-1 {
			n /= 1024
			i++
		}
		if i == 0 {
			return number(n) + " B"
		}
		return strconv.FormatFloat(n, 'f', 1, 64) + " " + units[i]
	case unit == "":
		return number(n)
	default:
		return number(n) + " " + unit
	}
}

func number(n float64) string {
	if n == math.Trunc(n) && math.Abs(n) < 1e15 {
		return strconv.FormatFloat(n, 'f', 0, 64)
	}
	return strconv.FormatFloat(n, 'g', 3, 64)
}
