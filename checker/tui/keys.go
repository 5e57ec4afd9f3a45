package tui

import (
	"fmt"

	tea "charm.land/bubbletea/v2"
)

// keys are those of the footer and of the page of keys, in that order.
var keys = []struct{ key, word, what string }{
	{"h", "hint", "the next hint; there are three"},
	{"d", "diff", "your mend beside the reference, once the lesson passes"},
	{"n", "next", "the next lesson that does not pass yet"},
	{"p", "prev", "the lesson before this one"},
	{"r", "rerun", "grade again, although nothing has changed"},
	{"l", "list", "all lessons; enter opens one"},
	{"?", "keys", "this page"},
	{"q", "quit", "leave; ctrl+c does too"},
}

func (m *screen) key(k string) tea.Cmd {
	m.notice = ""
	switch k {
	case "q", "ctrl+c":
		return tea.Quit
	case "ctrl+z":
		return tea.Suspend
	case "esc", "backspace":
		m.turn(pageVerdict)
	case "h":
		return m.nextHint()
	case "left":
		if m.page == pageHint && m.hint > 1 {
			return m.askHint(m.hint - 1)
		}
	case "right":
		if m.page == pageHint && m.hint < m.level {
			return m.askHint(m.hint + 1)
		}
	case "d":
		l, diff := m.lesson, m.guide.Diff
		return func() tea.Msg {
			text, err := diff(l)
			return compared{l.Slug, text, err}
		}
	case "n":
		return m.next()
	case "p":
		if l := m.guide.Previous(m.lesson); l != nil {
			m.open(l)
		} else {
			m.notice = "this is the first lesson"
		}
	case "r":
		m.turn(pageVerdict)
		m.session.Again()
	case "l":
		m.turn(pageList)
		for i, l := range m.guide.Lessons {
			if l.Slug == m.lesson.Slug {
				m.cursor = i
			}
		}
		return m.look()
	case "enter":
		if m.page == pageList {
			m.open(m.guide.Lessons[m.cursor])
		}
	case "?":
		m.turn(pageKeys)
	default:
		m.move(k)
	}
	return nil
}

// move scrolls, or in the list moves the cursor.
func (m *screen) move(k string) {
	by := map[string]int{
		"up": -1, "k": -1, "down": 1, "j": 1,
		"pgup": -m.room(), "b": -m.room(), "pgdown": m.room(), "space": m.room(), "f": m.room(),
		"home": -1 << 20, "g": -1 << 20, "end": 1 << 20, "G": 1 << 20,
	}[k]
	if m.page == pageList {
		m.cursor = min(max(0, m.cursor+by), len(m.guide.Lessons)-1)
		return
	}
	m.top = min(max(0, m.top+by), max(0, len(m.lines())-m.room()))
}

func (m *screen) next() tea.Cmd {
	g, l := m.guide, m.lesson
	return func() tea.Msg {
		switch next := g.Next(l); {
		case next != nil:
			return neighbour{lesson: next}
		case g.State(l) == "pass":
			return neighbour{none: fmt.Sprintf("all %d lessons pass; there is no next one", len(g.Lessons))}
		default:
			return neighbour{none: "this is the only lesson that does not pass yet"}
		}
	}
}

// nextHint asks for the next hint; one that a save has covered comes back first.
func (m *screen) nextHint() tea.Cmd {
	if m.interrupted {
		return m.askHint(m.hint)
	}
	return m.askHint(0)
}

func (m *screen) askHint(level int) tea.Cmd {
	l, hint := m.lesson, m.guide.Hint
	return func() tea.Msg {
		text, n, err := hint(l, level)
		return hinted{l.Slug, text, n, err}
	}
}

func (m *screen) showHint(h hinted) {
	if h.slug != m.lesson.Slug {
		return
	}
	m.turn(pageHint)
	m.interrupted = false
	m.hint, m.level, m.hintText = h.n, max(m.level, h.n), h.text
	if h.err != nil {
		m.notice = h.err.Error()
	}
}
