package render

import (
	"fmt"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"

	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

// State is one of several versions of a lesson, with what was measured.
type State struct {
	Name    string
	Verdict verdict.Verdict
}

// SideBySide is a table of the figures of all states: a line each, in the
// order of the first state, and a column for each state.
func SideBySide(l *lesson.Lesson, states []State) string {
	head := []string{"figure"}
	var names []string
	for _, s := range states {
		head = append(head, s.Name)
		for _, e := range s.Verdict.Evidence {
			if !slices.Contains(names, e.Name) {
				names = append(names, e.Name)
			}
		}
	}
	rows := [][]string{append(head, "limit")}
	for _, name := range names {
		row := []string{name}
		bound := ""
		for _, s := range states {
			cell := faint.Render("–") // not reached
			if i := slices.IndexFunc(s.Verdict.Evidence, func(e verdict.Evidence) bool { return e.Name == name }); i >= 0 {
				e := s.Verdict.Evidence[i]
				cell = Figure(e.Now, e.Unit)
				if e.Limit != nil {
					bound = map[string]string{"min": "≥ ", "equal": "= ", "max": "≤ "}[e.Bound] + bare(*e.Limit, e.Unit)
					if e.Holds() {
						cell += good.Render(" ✓")
					} else {
						cell += bad.Render(" ✗")
					}
				}
			}
			row = append(row, cell)
		}
		rows = append(rows, append(row, bound))
	}
	w := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, c := range r {
			w[i] = max(w[i], lipgloss.Width(c))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n\n", bold.Render(l.Slug), l.Title)
	for i, r := range rows {
		var cells []string
		for j, c := range r {
			if i > 0 && 0 < j && j < len(r)-1 && !strings.ContainsAny(c, "✓✗") {
				c += "  " // the mark's place
			}
			cells = append(cells, pad(c, w[j], 0 < j && j < len(r)-1))
		}
		line := strings.TrimRight("  "+strings.Join(cells, "   "), " ")
		if i == 0 {
			line = faint.Render(line)
		}
		b.WriteString(line + "\n")
	}
	b.WriteString("\n")
	for _, s := range states {
		fmt.Fprintf(&b, "  %s  %s  %s\n", Outcome(s.Verdict.Outcome), s.Name, faint.Render(fmt.Sprintf("%d findings, %.1f s", len(s.Verdict.Findings), s.Verdict.Seconds)))
	}
	return b.String()
}
