package tui

import (
	"fmt"
	"strings"
	"unicode"

	"charm.land/lipgloss/v2"

	"pitstop/checker/lesson"
	"pitstop/checker/render"
	"pitstop/checker/verdict"
)

// lines is the whole of the page that is open, before it is scrolled.
func (m *screen) lines() []string {
	var s string
	switch m.page {
	case pageVerdict:
		s = m.verdictPage()
	case pageHint:
		s = m.hintPage()
	case pageDiff:
		s = lipgloss.Wrap(strings.ReplaceAll(reflow(m.diff), "\t", "    "), m.width, " ")
	case pageList:
		s = m.listPage()
	case pageKeys:
		s = m.keysPage()
	}
	return strings.Split(strings.TrimRight(s, "\n"), "\n")
}

func (m *screen) verdictPage() string {
	var b strings.Builder
	switch v := m.verdict; {
	case v == nil:
		fmt.Fprintf(&b, " %s\n", faint.Render("grading it as it is now"))
	case m.grading:
		fmt.Fprintf(&b, " %s\n", faint.Render(string(v.Outcome)+", before this save"))
	default:
		fmt.Fprintf(&b, " %s  %s\n", render.Outcome(v.Outcome), faint.Render(fmt.Sprintf("%.1f s, at %s", v.Seconds, m.at.Format("15:04:05"))))
	}
	for _, w := range m.warnings {
		b.WriteString(warn.Render(m.para("warning: "+w)) + "\n")
	}
	b.WriteString("\n")
	if m.verdict == nil {
		b.WriteString(m.para("The story and the task are in " + m.lesson.Folder() + "/README.md. Edit " + m.lesson.Folder() + "/" + m.lesson.Edit[0] + " and save: the verdict comes by itself."))
		return b.String()
	}
	if m.verdict.Outcome == verdict.Pass {
		b.WriteString(m.passed() + "\n")
	}
	if body := render.Body(*m.verdict, m.width-1); body != "" {
		b.WriteString(body + "\n")
	}
	if next := m.nextStep(); next != "" {
		b.WriteString(m.para("next: " + next))
	}
	return b.String()
}

// passed says that the lesson passes and what may be done now.
func (m *screen) passed() string {
	head, left := m.lesson.Slug+" passes.", 0
	if m.turned {
		head = m.lesson.Slug + " passes now."
	}
	var next *lesson.Lesson
	for i, at := 1, m.index(); i < len(m.guide.Lessons); i++ {
		l := m.guide.Lessons[(at+i)%len(m.guide.Lessons)]
		if m.states[l.Slug] != "pass" {
			if next == nil {
				next = l
			}
			left++
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  %s\n", good.Bold(true).Render(head))
	fmt.Fprintf(&b, "  %s  your mend beside the reference, and why\n", bold.Render("d"))
	if next != nil {
		fmt.Fprintf(&b, "  %s  the next lesson: %s  %s\n", bold.Render("n"), next.Slug, faint.Render(fmt.Sprintf("(%d to go)", left)))
	} else {
		fmt.Fprintf(&b, "\n%s\n", good.Render(m.para(fmt.Sprintf("That was the last one: %d of %[1]d pass. Well done; take the rest of the day.", len(m.guide.Lessons)))))
	}
	return b.String()
}

func (m *screen) index() int {
	for i, l := range m.guide.Lessons {
		if l.Slug == m.lesson.Slug {
			return i
		}
	}
	return 0
}

// nextStep is what render.Next says, in keys.
func (m *screen) nextStep() string {
	v, file := m.verdict, m.lesson.Folder()+"/"+m.lesson.Edit[0]
	switch v.Outcome {
	case verdict.Pass:
		return ""
	case verdict.Error:
		return "r grades again once that is mended; bin/checker doctor looks at the whole machine"
	case verdict.Skip:
		return "bin/checker doctor says what to install"
	}
	switch first := v.Findings; {
	case len(first) > 0 && first[0].Stage == verdict.StageReview:
		return "the visible tests pass; a reviewer asks for more. Mend " + file + " and save; h gives a hint"
	case len(first) > 0 && first[0].Code == "build.compile":
		return "mend what the compiler names, and save"
	default:
		return "read " + m.lesson.Folder() + "/README.md, mend " + file + " and save; h gives a hint"
	}
}

func (m *screen) hintPage() string {
	return fmt.Sprintf(" %s\n\n%s", bold.Render(fmt.Sprintf("hint %d of %d", m.hint, len(m.lesson.Hints))), m.para(m.hintText))
}

func (m *screen) keysPage() string {
	var b strings.Builder
	fmt.Fprintf(&b, " %s\n\n", bold.Render("Save a file of the lesson and the verdict comes by itself."))
	for _, k := range keys {
		fmt.Fprintf(&b, "  %s  %s\n", bold.Render(k.key), k.what)
	}
	b.WriteString("\n  ↑ ↓ pgup pgdn scroll; in a hint ← → turn; esc goes back to the verdict\n")
	return b.String()
}

var signs = map[string]string{"pass": "✓", "fail": "✗", "error": "!", "skip": "–", "changed": "~"}

func (m *screen) listPage() string {
	var b strings.Builder
	module := ""
	for i, l := range m.guide.Lessons {
		if l.Module != module {
			module = l.Module
			fmt.Fprintf(&b, " %s\n", bold.Render(module))
		}
		sign, pointer := signs[m.states[l.Slug]], " "
		if sign == "" {
			sign = " "
		}
		if m.states[l.Slug] == "pass" {
			sign = good.Render(sign)
		}
		name := fmt.Sprintf("%-26s %s", l.Slug, l.Title)
		if i == m.cursor {
			pointer, name = "›", bold.Render(name)
		}
		fmt.Fprintf(&b, " %s %s %s  %s\n", pointer, sign, name, faint.Render(fmt.Sprintf("%d min", l.Minutes)))
	}
	return b.String()
}

// listLine is the line of the list that shows a lesson.
func (m *screen) listLine(lesson int) int {
	line, module := -1, ""
	for i, l := range m.guide.Lessons[:lesson+1] {
		if l.Module != module || i == 0 {
			module = l.Module
			line++
		}
		line++
	}
	return line
}

// para wraps a paragraph between the margins, at no more than is easy to read.
func (m *screen) para(s string) string {
	s = lipgloss.Wrap(strings.Join(strings.Fields(s), " "), max(20, min(m.width, 90)-4), " ")
	return "  " + strings.ReplaceAll(s, "\n", "\n  ")
}

// reflow joins the lines of a paragraph, so that prose wraps at the screen's
// width and not at its author's too. Lines of a diff begin with a sign or a
// space and stay as they are, and so do lists, headings and fenced code.
func reflow(s string) string {
	var b strings.Builder
	prose, fenced := false, false
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(line, "\n")
		fence := strings.HasPrefix(line, "```")
		fenced = fenced != fence
		starts := line != "" && !fenced && !fence && unicode.IsLetter([]rune(line)[0])
		switch {
		case prose && starts:
			b.WriteByte(' ')
		case b.Len() > 0:
			b.WriteByte('\n')
		}
		b.WriteString(line)
		prose = starts
	}
	return b.String()
}
