package render

import (
	"fmt"
	"slices"
	"strings"

	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

// Lines renders one lesson's verdict for a place that is read line by line: no
// colour, one fact a line, nothing left out but what Condense leaves out. The
// last line of all but an error names the next step.
func Lines(l *lesson.Lesson, v verdict.Verdict) []string {
	var list []string
	add := func(format string, args ...any) {
		line := l.Slug + ": " + fmt.Sprintf(format, args...)
		list = append(list, strings.Join(strings.Fields(line), " "))
	}
	switch v.Outcome {
	case verdict.Pass:
		add("pass")
	case verdict.Error:
		add("error: the checker could not grade this lesson; your code is not judged: %s", text(v.Findings))
		return list
	case verdict.Skip:
		add("skip: %s", text(v.Findings))
	}
	if v.Outcome == verdict.Fail {
		for _, f := range v.Findings {
			add("fail: %s: %s", f.Code, legible(f.Message))
			if where := place(f); where != "" {
				add("at %s", where)
			}
			if f.Detail != "" {
				for line := range strings.Lines(Condense(f.Detail)) {
					list = append(list, "    "+strings.TrimRight(line, "\n"))
				}
			}
		}
	}
	evidence := slices.Clone(v.Evidence)
	slices.SortStableFunc(evidence, func(a, b verdict.Evidence) int { return order(a) - order(b) })
	for _, e := range evidence {
		parts := []string{"now " + Figure(e.Now, e.Unit)}
		if e.Before != nil {
			parts = slices.Insert(parts, 0, "before "+Figure(*e.Before, e.Unit))
		}
		if e.Limit != nil {
			parts = append(parts, "limit "+limit(e)+": "+map[bool]string{true: "holds", false: "does not hold"}[e.Holds()])
		}
		add("evidence: %s: %s", e.Name, strings.Join(parts, ", "))
	}
	return append(list, "next: "+strings.Join(strings.Fields(Next(l, v)), " "))
}
