// Package render shows verdicts: as text for a terminal or a pipe, and as
// JUnit XML. One verdict fits one screen.
package render

import (
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

// What one screen holds, 24 lines of 80 columns: the body of a verdict gets
// what its head and its last line leave.
const (
	width        = 80
	maxBody      = 19
	maxFindings  = 12 // lines, the first finding whole in any case
	minDetail    = 4  // of these, where there is a stack or a race report
	minEvidence  = 2  // figures
	evidenceHead = 2  // an empty line and the names of the columns
)

var (
	good  = lipgloss.NewStyle().Foreground(lipgloss.Green)
	bad   = lipgloss.NewStyle().Foreground(lipgloss.Red)
	warn  = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	faint = lipgloss.NewStyle().Faint(true)
	bold  = lipgloss.NewStyle().Bold(true)
)

var marks = map[verdict.Outcome]struct {
	sign  string
	style lipgloss.Style
}{
	verdict.Pass:  {"✓", good},
	verdict.Fail:  {"✗", bad},
	verdict.Error: {"!", warn},
	verdict.Skip:  {"–", warn},
}

// Outcome renders the outcome with its sign.
func Outcome(o verdict.Outcome) string {
	m := marks[o]
	return m.style.Render(m.sign + " " + string(o))
}

// Verdict renders one lesson's verdict: what was observed, where, the
// evidence, and the next command.
func Verdict(l *lesson.Lesson, v verdict.Verdict) string {
	head := fmt.Sprintf("%s  %s  %s  %s\n", Outcome(v.Outcome), bold.Render(l.Slug), l.Title, faint.Render(fmt.Sprintf("%.1f s", v.Seconds)))
	body := Body(v, width)
	if body != "" {
		body = "\n" + body
	}
	if v.Outcome == verdict.Error {
		return head + body // the finding says what is next
	}
	return head + body + "\n  next: " + Next(l, v) + "\n"
}

// Body renders what a verdict says in lines of at most so many columns, at
// least 40: the findings and the evidence, without the lesson's name and
// without the next command.
func Body(v verdict.Verdict, columns int) string {
	columns = max(columns, 40)
	var parts []string
	switch v.Outcome {
	case verdict.Error:
		return indent(wrap("the checker could not grade this lesson; your code is not judged: "+text(v.Findings), columns-2), "  ") + "\n"
	case verdict.Skip:
		parts = append(parts, indent(wrap(text(v.Findings), columns-2), "  ")+"\n")
	case verdict.Fail:
		parts = append(parts, findings(v.Findings, columns))
	}
	if len(v.Evidence) > 0 {
		used := evidenceHead
		for _, p := range parts {
			used += strings.Count(p, "\n")
		}
		parts = append(parts, evidence(v.Evidence, columns, max(minEvidence, maxBody-used)))
	}
	return strings.Join(parts, "\n")
}

// Next is the command, or the step, that follows a verdict.
func Next(l *lesson.Lesson, v verdict.Verdict) string {
	n := fmt.Sprintf("%02d", l.Number)
	switch v.Outcome {
	case verdict.Pass:
		return "bin/checker diff " + n + "   (yours beside the reference)"
	case verdict.Fail:
		if len(v.Findings) > 0 && v.Findings[0].Stage == verdict.StageReview {
			return "the visible tests pass; a reviewer asks for more: bin/checker hint " + n
		}
		if len(v.Findings) > 0 && v.Findings[0].Code == "build.compile" {
			return "mend what the compiler names, then bin/checker check " + n
		}
		return "bin/checker hint " + n + "   (the story: " + path.Join(l.Folder(), "README.md") + ")"
	default:
		return "bin/checker doctor"
	}
}

// Headline is a verdict in a few words, for a table.
func Headline(v verdict.Verdict) string {
	if len(v.Findings) == 0 {
		return ""
	}
	s := v.Findings[0].Message
	if v.Findings[0].Code != "" && v.Outcome == verdict.Fail {
		s = v.Findings[0].Code + ": " + s
	}
	if more := len(v.Findings) - 1; more > 0 {
		s += fmt.Sprintf(" (and %d more)", more)
	}
	return s
}

func text(fs []verdict.Finding) string {
	var parts []string
	for _, f := range fs {
		parts = append(parts, legible(f.Message))
	}
	return strings.Join(parts, "; ")
}

func findings(fs []verdict.Finding, columns int) string {
	var b strings.Builder
	used, most := 0, maxFindings
	if slices.ContainsFunc(fs, func(f verdict.Finding) bool { return f.Detail != "" }) {
		most -= minDetail
	}
	for i, f := range fs {
		one := finding(f, columns)
		lines := strings.Count(one, "\n")
		if i > 0 && used+lines > most {
			b.WriteString("  " + faint.Render(fmt.Sprintf("… and %d more (check --json shows all)", len(fs)-i)) + "\n")
			used++
			break
		}
		b.WriteString(one)
		used += lines
	}
	for _, f := range fs {
		if f.Detail == "" {
			continue
		}
		if detail := condense(f.Detail, columns-8, max(minDetail-1, maxFindings-used)); detail != "" {
			b.WriteString("\n" + faint.Render(indent(detail, "    │ ")) + "\n")
		}
		break
	}
	return b.String()
}

func finding(f verdict.Finding, columns int) string {
	var b strings.Builder
	lines := strings.SplitN(wrap(f.Code+": "+legible(f.Message), columns-4), "\n", 2)
	b.WriteString("  " + strings.Replace(lines[0], f.Code, bad.Render(f.Code), 1) + "\n")
	if len(lines) > 1 {
		b.WriteString(indent(lines[1], "    ") + "\n")
	}
	if where := place(f); where != "" {
		b.WriteString("    " + faint.Render(where) + "\n")
	}
	return b.String()
}

// legible takes away what a terminal would obey instead of show: a learner's
// program may print anything, and some of it is quoted in findings.
func legible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, ansi.Strip(s))
}

func place(f verdict.Finding) string {
	where := f.File
	if where != "" && f.Line > 0 {
		where += ":" + strconv.Itoa(f.Line)
	}
	if f.Test != "" {
		if where != "" {
			where += " in "
		}
		where += f.Test
	}
	if f.Stage == verdict.StageReview {
		where += " (review)"
	}
	return strings.TrimSpace(where)
}

var noise = regexp.MustCompile(`0x[0-9a-f]+|\+0x[0-9a-f]+$`)

// Condense keeps the lines of a stack or a race report that a learner can
// act on: the heads and the frames of the lesson's own files.
func Condense(detail string) string { return condense(detail, 100, 8) }

func condense(detail string, columns, most int) string {
	detail = legible(detail)
	lines := strings.Split(strings.TrimSpace(detail), "\n")
	if strings.Contains(detail, "/lessons/") {
		lines = slices.DeleteFunc(lines, func(s string) bool {
			frame := strings.HasPrefix(s, "\t") || strings.HasPrefix(s, "      /")
			head := !strings.HasPrefix(s, " ") && !frame && (strings.HasSuffix(s, ":") || strings.HasPrefix(s, "panic") || strings.HasPrefix(s, "fatal error") || strings.HasPrefix(s, "WARNING"))
			return !head && !(frame && strings.Contains(s, "/lessons/"))
		})
	}
	for i, s := range lines {
		if k := strings.Index(s, "/lessons/"); k >= 0 {
			s = "  " + s[k+1:]
		}
		lines[i] = clip(strings.TrimRight(noise.ReplaceAllString(s, ""), " +"), columns)
	}
	if len(lines) > most {
		lines = append(lines[:most], "…")
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// Summary renders the table that ends the grading of several lessons.
func Summary(w io.Writer, lessons []*lesson.Lesson, verdicts map[string]verdict.Verdict) {
	rows := [][3]string{{"lesson", "outcome", "what to do next"}}
	count := map[verdict.Outcome]int{}
	for _, l := range lessons {
		v, ok := verdicts[l.Slug]
		if !ok {
			continue
		}
		count[v.Outcome]++
		rows = append(rows, [3]string{l.Slug, Outcome(v.Outcome), step(l, v)})
	}
	var wide [2]int
	for _, r := range rows {
		wide[0], wide[1] = max(wide[0], lipgloss.Width(r[0])), max(wide[1], lipgloss.Width(r[1]))
	}
	for i, r := range rows {
		line := fmt.Sprintf("  %s  %s  %s", pad(r[0], wide[0], false), pad(r[1], wide[1], false), r[2])
		if i == 0 {
			line = faint.Render(line)
		}
		fmt.Fprintln(w, line)
	}
	var parts []string
	for _, o := range []verdict.Outcome{verdict.Pass, verdict.Fail, verdict.Error, verdict.Skip} {
		if count[o] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[o], o))
		}
	}
	fmt.Fprintf(w, "\n  %d lessons: %s\n", len(rows)-1, strings.Join(parts, ", "))
}

// step is the next step in the table's last column.
func step(l *lesson.Lesson, v verdict.Verdict) string {
	switch v.Outcome {
	case verdict.Pass:
		return faint.Render(fmt.Sprintf("done; bin/checker diff %02d shows the reference", l.Number))
	case verdict.Fail:
		return fmt.Sprintf("bin/checker watch %02d", l.Number) + faint.Render("   edit "+path.Join(l.Folder(), l.Edit[0]))
	case verdict.Skip:
		return clip(text(v.Findings), 100)
	default:
		return "bin/checker doctor" + faint.Render("   "+clip(text(v.Findings), 60))
	}
}

func pad(s string, w int, left bool) string {
	fill := strings.Repeat(" ", max(0, w-lipgloss.Width(s)))
	if left {
		return fill + s
	}
	return s + fill
}

var command = regexp.MustCompile("`[^`]+`")

// wrap breaks lines between words, and never within a command: it must come
// whole to whoever copies it.
func wrap(s string, w int) string {
	const hard = "\u00a0"
	s = command.ReplaceAllStringFunc(s, func(c string) string { return strings.ReplaceAll(c, " ", hard) })
	return strings.ReplaceAll(lipgloss.Wrap(s, w, " "), hard, " ")
}

func indent(s, by string) string { return by + strings.ReplaceAll(s, "\n", "\n"+by) }

func clip(s string, w int) string {
	r := []rune(s)
	if len(r) <= w {
		return s
	}
	return string(r[:w-1]) + "…"
}
