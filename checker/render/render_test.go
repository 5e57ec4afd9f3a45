package render

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"

	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

var pool = &lesson.Lesson{Slug: "01_pool", Number: 1, Title: "A pool", Edit: []string{"pool.go"}}

func figure(f float64) *float64 { return &f }

func TestVerdict_FitsOneScreen(t *testing.T) {
	v := verdict.Verdict{Outcome: verdict.Fail}
	for i := range 12 {
		v.Findings = append(v.Findings, verdict.Finding{
			Code: "pool.unbounded", Message: strings.Repeat("word ", 30), File: "lessons/01_pool/pool.go", Line: i + 1, Test: "TestPool_IsBounded",
			Detail: "goroutine 1 [running]:\n" + strings.Repeat("main.f()\n\t/home/x/lessons/01_pool/pool.go:12 +0x1\n", 40),
		})
		v.Evidence = append(v.Evidence, verdict.Evidence{Name: fmt.Sprintf("figure %d of a name that goes on and on and does not end", i), Now: float64(i), Limit: figure(4), Bound: "max", Unit: "tasks"})
	}
	text := ansi.Strip(Verdict(pool, v))
	lines := strings.Split(strings.TrimSpace(text), "\n")
	require.LessOrEqual(t, len(lines), 24, text)
	for _, l := range lines {
		require.LessOrEqual(t, ansi.StringWidth(l), 80, l)
	}
	require.Contains(t, text, "lessons/01_pool/pool.go:1 in TestPool_IsBounded")
	require.Contains(t, text, "more (check --json shows all)")
	require.Contains(t, text, "next: ")
	require.Contains(t, text, "bin/checker hint 01")
}

func TestVerdict_ShowsBeforeNowAndLimit(t *testing.T) {
	v := verdict.Verdict{Outcome: verdict.Pass, Evidence: []verdict.Evidence{
		{Name: "kept alive", Unit: "B", Before: figure(8 << 20), Now: 32, Limit: figure(4096), Bound: "max"},
		{Name: "answered", Unit: "orders", Now: 3, Limit: figure(3), Bound: "min"},
	}}
	text := ansi.Strip(Verdict(pool, v))
	require.Regexp(t, `kept alive +8\.0 MiB → +32 B +≤ 4\.0 KiB +✓`, text)
	require.Regexp(t, `answered +3 orders +≥ 3 +✓`, text)
	require.Contains(t, text, "bin/checker diff 01")
}

func TestVerdict_NeverBlamesTheLearnerForTheGrader(t *testing.T) {
	v := verdict.Verdict{Outcome: verdict.Error, Findings: []verdict.Finding{{Code: "grader.disk", Message: "no space left"}}}
	require.Contains(t, ansi.Strip(Verdict(pool, v)), "your code is not judged")
}

func TestVerdict_KeepsACommandWhole(t *testing.T) {
	for n := range 40 {
		v := verdict.Verdict{Outcome: verdict.Fail, Findings: []verdict.Finding{{Code: "x.y", Message: strings.Repeat("a ", 20+n) + "`bin/checker reset 01` puts it back"}}}
		require.Contains(t, ansi.Strip(Verdict(pool, v)), "`bin/checker reset 01`")
	}
}

func TestEvidence_HoldsByItsBound(t *testing.T) {
	for _, c := range []struct {
		bound string
		now   float64
		holds bool
	}{{"max", 4, true}, {"max", 5, false}, {"min", 4, true}, {"min", 3, false}, {"equal", 4, true}, {"equal", 5, false}} {
		e := verdict.Evidence{Now: c.now, Limit: figure(4), Bound: c.bound}
		require.Equal(t, c.holds, e.Holds(), "%s %v", c.bound, c.now)
	}
}

func TestJUnit_CountsAndQuotes(t *testing.T) {
	other := &lesson.Lesson{Slug: "02_x", Title: "X"}
	third := &lesson.Lesson{Slug: "03_y", Title: "Y"}
	verdicts := map[string]verdict.Verdict{
		"01_pool": {Outcome: verdict.Fail, Findings: []verdict.Finding{{Code: "pool.x", Message: "a < b & \"c\""}}},
		"02_x":    {Outcome: verdict.Pass},
		"03_y":    {Outcome: verdict.Error, Findings: []verdict.Finding{{Code: "grader.disk", Message: "full"}}},
	}
	var b bytes.Buffer
	require.NoError(t, JUnit(&b, []*lesson.Lesson{pool, other, third}, verdicts))
	var back suites
	require.NoError(t, xml.Unmarshal(b.Bytes(), &back))
	require.Equal(t, []int{3, 1, 1, 0}, []int{back.Tests, back.Failures, back.Errors, back.Skipped})
	require.Equal(t, "pool.x", back.Suites[0].Cases[0].Failure.Type)
	require.Contains(t, back.Suites[0].Cases[0].Failure.Message, `a < b & "c"`)
	require.NotNil(t, back.Suites[2].Cases[0].Error)
}
