// Package tui is the screen: one lesson's verdict, which a save renews with no
// key pressed, and keys for hints, the diff and the other lessons. It reads a
// watch.Session and decides nothing about grading.
package tui

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"

	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
	"pitstop/checker/watch"
)

// Run shows the screen, beginning with a lesson, until q or ctrl+c is pressed
// or ctx is done; both are a good end. It takes the whole terminal and gives it
// back as it was, also after a panic.
func Run(ctx context.Context, s *watch.Session, g *watch.Guide, first *lesson.Lesson, in, out *os.File) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for range s.Events { // the session ends what it grades
		}
	}()
	go s.Run(ctx)
	m := newScreen(s, s.Events, g, first)
	// Signals are main's: they end ctx.
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler())
	_, err := p.Run()
	if err != nil && !(errors.Is(err, context.Canceled) && !errors.Is(err, tea.ErrProgramPanic)) {
		return fmt.Errorf("screen: %w; the same without a screen: TERM=dumb bin/checker watch %02d", err, m.lesson.Number)
	}
	fmt.Fprintf(out, "left at %s; bin/checker watch %02d goes on there\n", m.lesson.Slug, m.lesson.Number)
	return nil
}

// grader is what the screen asks of a session.
type grader interface {
	Open(*lesson.Lesson)
	Again()
}

type page int

const (
	pageVerdict page = iota
	pageHint
	pageDiff
	pageList
	pageKeys
)

// screen is the model.
type screen struct {
	session grader
	events  <-chan verdict.Event
	guide   *watch.Guide
	states  map[string]string // by slug; as of the last look

	width, height int
	page          page
	top           int    // first line of the page that is shown
	notice        string // a word in the status line, until something else happens

	lesson   *lesson.Lesson
	verdict  *verdict.Verdict // nil until the lesson is graded
	turned   bool             // it did not pass before and does now
	at       time.Time        // when the verdict came
	warnings []string
	grading  bool
	step     string
	since    time.Time
	frame    int
	ticking  bool

	hint, level int    // the level that is shown, and the highest that was
	hintText    string // of the level that is shown
	interrupted bool   // the hint was left because of a save, not by a key
	diff        string
	cursor      int // in the list
}

func newScreen(s grader, events <-chan verdict.Event, g *watch.Guide, first *lesson.Lesson) *screen {
	m := &screen{session: s, events: events, guide: g, states: map[string]string{}, width: 80, height: 24}
	m.open(first)
	return m
}

// What comes back from commands.
type (
	event     struct{ verdict.Event }
	closed    struct{} // the session has ended
	tick      struct{}
	states    map[string]string
	neighbour struct {
		lesson *lesson.Lesson
		none   string // what to say where there is no such lesson
	}
	hinted struct {
		slug, text string
		n          int
		err        error
	}
	compared struct {
		slug, text string
		err        error
	}
)

func (m *screen) Init() tea.Cmd { return tea.Batch(m.listen(), m.look()) }

func (m *screen) listen() tea.Cmd {
	return func() tea.Msg {
		ev, ok := <-m.events
		if !ok {
			return closed{}
		}
		return event{ev}
	}
}

// look learns where every lesson stands. It reads their folders.
func (m *screen) look() tea.Cmd {
	g := m.guide
	return func() tea.Msg {
		s := states{}
		for _, l := range g.Lessons {
			s[l.Slug] = g.State(l)
		}
		return s
	}
}

func (m *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m, m.key(msg.String())
	case event:
		return m, tea.Batch(m.take(msg.Event), m.listen())
	case closed:
		return m, tea.Quit
	case tick:
		m.frame++
		m.ticking = false
		return m, m.spin()
	case states:
		m.states = msg
	case neighbour:
		if msg.lesson == nil {
			m.notice = msg.none
			return m, nil
		}
		m.open(msg.lesson)
	case hinted:
		m.showHint(msg)
	case compared:
		if msg.slug != m.lesson.Slug {
			break
		}
		if msg.err != nil {
			m.notice = msg.err.Error()
			break
		}
		m.diff = msg.text
		m.turn(pageDiff)
	}
	return m, nil
}

// open turns to a lesson.
func (m *screen) open(l *lesson.Lesson) {
	m.lesson, m.verdict, m.warnings, m.diff = l, nil, nil, ""
	m.hint, m.level, m.interrupted = 0, 0, false
	m.grading, m.step, m.since = true, "", time.Now()
	m.turn(pageVerdict)
	m.session.Open(l)
}

// turn turns to a page.
func (m *screen) turn(p page) { m.page, m.top, m.notice = p, 0, "" }

// take takes an event of the session. A save brings the verdict back to the
// front, whatever page is open.
func (m *screen) take(ev verdict.Event) tea.Cmd {
	if ev.Lesson != m.lesson.Slug {
		return nil // of a lesson that was left meanwhile
	}
	switch ev.Type {
	case watch.Opened, watch.Saved, watch.Again:
		m.grading, m.step, m.since, m.warnings, m.notice = true, "", time.Now(), nil, ""
		if ev.Type == watch.Saved && (m.page == pageHint || m.page == pageDiff || m.page == pageKeys) {
			m.interrupted = m.page == pageHint
			m.turn(pageVerdict)
		}
		return m.spin()
	case watch.Unchanged:
		m.notice = "saved, and nothing that is graded has changed; r grades again"
	case verdict.Warning:
		m.warnings = append(m.warnings, ev.Message)
	case verdict.Step:
		m.step = ev.Message
	case verdict.Graded:
		m.turned = m.verdict != nil && m.verdict.Outcome != verdict.Pass && ev.Outcome == verdict.Pass
		m.grading, m.verdict, m.at = false, ev.Verdict, time.Now()
		if m.page == pageVerdict {
			m.top = 0
		}
		return m.look()
	}
	return nil
}

// spin keeps the spinner turning while something is being graded.
func (m *screen) spin() tea.Cmd {
	if !m.grading || m.ticking {
		return nil
	}
	m.ticking = true
	return tea.Tick(100*time.Millisecond, func(time.Time) tea.Msg { return tick{} })
}
