package render

import (
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"

	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

func TestSideBySide_ALineForEachFigure(t *testing.T) {
	limit := 0.0
	figure := func(now float64) verdict.Evidence {
		return verdict.Evidence{Name: "requests lost", Unit: "requests", Now: now, Limit: &limit, Bound: "max"}
	}
	got := SideBySide(&lesson.Lesson{Slug: "24_x", Title: "All of it"}, []State{
		{"as shipped", verdict.Verdict{Outcome: verdict.Fail, Findings: make([]verdict.Finding, 2), Seconds: 12.34, Evidence: []verdict.Evidence{figure(8), {Name: "p99", Unit: "ms", Now: 2094}}}},
		{"mended", verdict.Verdict{Outcome: verdict.Pass, Seconds: 9, Evidence: []verdict.Evidence{figure(0), {Name: "p99", Unit: "ms", Now: 512}, {Name: "only here", Now: 1}}}},
	})
	require.Equal(t, `24_x  All of it

  figure            as shipped         mended   limit
  requests lost   8 requests ✗   0 requests ✓   ≤ 0
  p99                2094 ms         512 ms
  only here                –              1

  ✗ fail  as shipped  2 findings, 12.3 s
  ✓ pass  mended  0 findings, 9.0 s
`, ansi.Strip(got))
}
