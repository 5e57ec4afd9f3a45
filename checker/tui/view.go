package tui

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

var (
	bold  = lipgloss.NewStyle().Bold(true)
	faint = lipgloss.NewStyle().Faint(true)
	good  = lipgloss.NewStyle().Foreground(lipgloss.Green)
	warn  = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	brand = lipgloss.NewStyle().Foreground(lipgloss.Cyan).Bold(true)
)

const (
	frameLines = 6  // header two, status, footer, and a rule at either end
	smallLines = 16 // below this the rules are left out
	barCells   = 10
)

var spinner = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

// room is how many lines a page has.
func (m *screen) room() int {
	if m.height < smallLines {
		return max(1, m.height-frameLines+2)
	}
	return m.height - frameLines
}

func (m *screen) View() tea.View {
	v := tea.NewView(m.render())
	v.AltScreen = true
	v.WindowTitle = "Pitstop " + m.lesson.Slug
	return v
}

func (m *screen) render() string {
	page, room := m.lines(), m.room()
	if m.page == pageList {
		m.follow(len(page), room)
	}
	m.top = min(max(0, m.top), max(0, len(page)-room))
	shown := page[m.top:min(len(page), m.top+room)]
	rule := faint.Render(strings.Repeat("─", m.width))

	all := m.header()
	if m.height >= smallLines {
		all = append(all, rule)
	}
	all = append(all, shown...)
	for range room - len(shown) {
		all = append(all, "")
	}
	if m.height >= smallLines {
		all = append(all, rule)
	}
	all = append(all, " "+m.status(), " "+m.footer(len(page) > room))
	for i, s := range all {
		all[i] = ansi.Truncate(strings.ReplaceAll(s, "\t", "    "), m.width, "…")
	}
	return strings.Join(all, "\n")
}

func (m *screen) header() []string {
	passed, all := 0, len(m.guide.Lessons)
	for _, s := range m.states {
		if s == "pass" {
			passed++
		}
	}
	cells := 0
	if all > 0 {
		cells = passed * barCells / all
	}
	right := good.Render(strings.Repeat("█", cells)) + faint.Render(strings.Repeat("░", barCells-cells)) + fmt.Sprintf(" %d/%d ", passed, all)
	left := " " + brand.Render("Pitstop") + "  " + faint.Render(m.lesson.Module)
	left = ansi.Truncate(left, max(0, m.width-lipgloss.Width(right)-1), "…")
	gap := strings.Repeat(" ", max(1, m.width-lipgloss.Width(left)-lipgloss.Width(right)))
	return []string{left + gap + right, " " + bold.Render(m.lesson.Slug) + "  " + m.lesson.Title}
}

func (m *screen) status() string {
	switch {
	case m.notice != "":
		return warn.Render(m.notice)
	case m.grading:
		step := m.step
		if step == "" {
			step = "reading your files"
		}
		return fmt.Sprintf("%c %s  %s", spinner[m.frame%len(spinner)], step, faint.Render(fmt.Sprintf("%.1f s", time.Since(m.since).Seconds())))
	default:
		return faint.Render("waiting for a save in " + m.lesson.Folder())
	}
}

func (m *screen) footer(scrolls bool) string {
	var parts []string
	add := func(key, word string) { parts = append(parts, bold.Render(key)+" "+faint.Render(word)) }
	switch m.page {
	case pageVerdict:
		for _, k := range keys {
			if k.key == "p" && m.width < 70 {
				continue
			}
			add(k.key, k.word)
		}
		if scrolls {
			add("↑↓", "more")
		}
	case pageHint:
		if m.hint < len(m.lesson.Hints) {
			add("h", "next hint")
		}
		if m.hint > 1 {
			add("←", "the one before")
		}
		add("esc", "back")
	case pageList:
		add("↑↓", "choose")
		add("enter", "open")
		add("esc", "back")
	default:
		if scrolls {
			add("↑↓", "scroll")
		}
		add("esc", "back")
	}
	if m.page != pageVerdict {
		add("q", "quit")
	}
	return strings.Join(parts, "  ")
}

// follow scrolls the list so that the cursor is in sight.
func (m *screen) follow(lines, room int) {
	at := m.listLine(m.cursor)
	if at < m.top+1 {
		m.top = at - 1 // with the module's name above
	}
	if at >= m.top+room {
		m.top = at - room + 1
	}
	m.top = max(0, min(m.top, lines-room))
}
