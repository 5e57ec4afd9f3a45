package tui

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"

	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
	"pitstop/checker/watch"
)

// session remembers what the screen asked of it.
type session struct{ asked []string }

func (s *session) Open(l *lesson.Lesson) { s.asked = append(s.asked, "open "+l.Slug) }
func (s *session) Again()                { s.asked = append(s.asked, "again") }

// desk is a screen that is fed messages and looked at.
type desk struct {
	t *testing.T
	*screen
	session *session
	states  map[string]string
	hints   int
	hintErr error
}

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, session: &session{}, states: map[string]string{}}
	g := &watch.Guide{
		State: func(l *lesson.Lesson) string { return d.states[l.Slug] },
		Hint: func(l *lesson.Lesson, level int) (string, int, error) {
			if level == 0 {
				level = min(d.hints+1, 3)
			}
			d.hints = max(d.hints, level)
			return strings.TrimSpace(l.Hints[level-1]), level, d.hintErr
		},
		Diff: func(l *lesson.Lesson) (string, error) {
			if d.states[l.Slug] != "pass" {
				return "", watch.ErrNotYet
			}
			return "--- yours/a.go\n+++ reference/a.go\n" + strings.Repeat("\tcontext\n", 40) + "-\twg.Go(f)\n+\tg.Go(f)\nWhy it is\nso.\n", nil
		},
	}
	for i, title := range []string{"The pool that never goes home", "The pod that dies young", "The slice that keeps everything"} {
		g.Lessons = append(g.Lessons, &lesson.Lesson{
			Slug: fmt.Sprintf("%02d_lesson", i+1), Number: i + 1, Title: title, Module: "Goroutines", Minutes: 25,
			Edit: []string{"a.go"}, Hints: []string{"look at the pool", "the channel is never closed", "close it"},
		})
	}
	d.screen = newScreen(d.session, make(chan verdict.Event), g, g.Lessons[0])
	d.do(d.look())
	return d
}

// do runs a command and feeds what comes of it, but waits for no clock.
func (d *desk) do(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case states, neighbour, hinted, compared:
		d.feed(msg)
	}
}

func (d *desk) feed(msg tea.Msg) {
	d.t.Helper()
	if ev, ok := msg.(event); ok { // its other command waits for the next event
		d.ticking = true // no clock here
		d.do(d.take(ev.Event))
		return
	}
	_, cmd := d.Update(msg)
	d.do(cmd)
}

func (d *desk) press(keys ...string) {
	d.t.Helper()
	codes := map[string]rune{
		"esc": tea.KeyEscape, "enter": tea.KeyEnter, "up": tea.KeyUp, "down": tea.KeyDown, "left": tea.KeyLeft,
		"right": tea.KeyRight, "end": tea.KeyEnd, "home": tea.KeyHome, "pgdown": tea.KeyPgDown,
	}
	for _, k := range keys {
		msg := tea.KeyPressMsg{Text: k, Code: []rune(k)[0]}
		if code, ok := codes[k]; ok {
			msg = tea.KeyPressMsg{Code: code}
		}
		require.Equal(d.t, k, msg.String())
		d.feed(msg)
	}
}

func (d *desk) event(t verdict.Type, message string) {
	d.feed(event{verdict.Event{Type: t, Lesson: d.lesson.Slug, Message: message}})
}

func (d *desk) graded(o verdict.Outcome, findings ...verdict.Finding) {
	d.states[d.lesson.Slug] = string(o)
	before, limit := 41.0, 4.0
	d.feed(event{verdict.Event{Type: verdict.Graded, Lesson: d.lesson.Slug, Verdict: &verdict.Verdict{
		Outcome: o, Findings: findings, Seconds: 0.6,
		Evidence: []verdict.Evidence{{Name: "goroutines at once", Before: &before, Now: 3, Limit: &limit, Bound: "max"}},
	}}})
}

func (d *desk) text() string { return ansi.Strip(d.View().Content) }

func (d *desk) shows(want ...string) {
	d.t.Helper()
	for _, w := range want {
		require.Contains(d.t, d.text(), w)
	}
}

func (d *desk) hides(not ...string) {
	d.t.Helper()
	for _, n := range not {
		require.NotContains(d.t, d.text(), n)
	}
}

var unbounded = verdict.Finding{Code: "pool.unbounded", Message: "41 goroutines ran at once", File: "lessons/01_lesson/a.go", Line: 12, Test: "TestPool"}

func TestScreen_ASaveBringsAVerdict(t *testing.T) {
	d := newDesk(t)
	require.Equal(t, []string{"open 01_lesson"}, d.session.asked)
	d.event(watch.Opened, "")
	d.shows("Pitstop", "Goroutines", "01_lesson", "The pool that never goes home", "0/3", "README.md", "h hint", "q quit")
	d.event(verdict.Step, "building and running 3 tests")
	d.shows("building and running 3 tests")
	d.graded(verdict.Fail, unbounded)
	d.shows("✗ fail", "pool.unbounded: 41 goroutines ran at once", "lessons/01_lesson/a.go:12 in TestPool", "goroutines at once", "waiting for a save", "next: read")
	d.hides("building")

	d.event(watch.Saved, "")
	d.shows("fail, before this save", "pool.unbounded")
	d.graded(verdict.Pass)
	d.shows("✓ pass", "01_lesson passes now.", "1/3", "02_lesson", "(2 to go)", "≤ 4")
	d.hides("pool.unbounded")
	require.Equal(t, []string{"open 01_lesson"}, d.session.asked, "it went on by itself")
}

func TestScreen_SaysWhoseFaultItIs(t *testing.T) {
	d := newDesk(t)
	d.event(verdict.Warning, "lessons/01_lesson/a_test.go was changed; the change is without effect")
	d.feed(event{verdict.Event{Type: verdict.Graded, Lesson: "01_lesson", Verdict: &verdict.Verdict{
		Outcome: verdict.Error, Findings: []verdict.Finding{{Code: "grader.disk", Message: "no space left on the disk; free some"}},
	}}})
	d.shows("warning: lessons/01_lesson/a_test.go was changed", "could not grade", "your code is not judged", "free some", "r grades again")
	d.event(watch.Saved, "")
	d.hides("a_test.go")
}

// A learner's program may print what a terminal obeys.
func TestScreen_ShowsOutputAndDoesNotObeyIt(t *testing.T) {
	d := newDesk(t)
	d.graded(verdict.Fail, verdict.Finding{Code: "test.failed", Message: "got \x1b[2Jnothing\r\a", Detail: "\x1b[H\x1b]0;title\x07here"})
	d.shows("got nothing", "│ here")
	require.NotContains(t, d.View().Content, "\x1b[2J")
	require.NotContains(t, d.View().Content, "\x1b[H")
}

func TestScreen_HintsComeOneByOne(t *testing.T) {
	d := newDesk(t)
	d.graded(verdict.Fail, unbounded)
	d.press("h")
	d.shows("hint 1 of 3", "look at the pool", "h next hint", "esc back")
	d.hides("pool.unbounded")
	d.press("h")
	d.shows("hint 2 of 3", "never closed")
	d.press("left")
	d.shows("hint 1 of 3")
	d.press("right", "right")
	d.shows("hint 2 of 3")
	d.press("esc")
	d.shows("pool.unbounded")
	d.press("h", "h")
	d.shows("hint 3 of 3")
	d.hides("h next hint")
	d.hintErr = errors.New("progress is not kept")
	d.press("h")
	d.shows("hint 3 of 3", "progress is not kept")
}

// A learner who saves with a hint open wants the verdict, and the hint back.
func TestScreen_ASaveCoversAHintAndHBringsItBack(t *testing.T) {
	d := newDesk(t)
	d.graded(verdict.Fail, unbounded)
	d.press("h")
	d.event(watch.Saved, "")
	d.graded(verdict.Fail, unbounded)
	d.shows("pool.unbounded")
	d.press("h")
	d.shows("hint 1 of 3")
	d.press("h")
	d.shows("hint 2 of 3")
}

func TestScreen_TheDiffOpensAfterPassing(t *testing.T) {
	d := newDesk(t)
	d.graded(verdict.Fail, unbounded)
	d.press("d")
	d.shows("opens once this lesson passes", "pool.unbounded")
	d.graded(verdict.Pass)
	d.press("d")
	d.shows("yours/a.go", "↑↓ scroll")
	d.hides("g.Go(f)")
	d.press("end")
	d.shows("+    g.Go(f)", "Why it is so.")
	d.press("home")
	d.shows("yours/a.go")
	d.press("pgdown", "up", "k", "j", "esc")
	d.shows("passes")
}

func TestScreen_NextIsTheNextThatHasNotPassed(t *testing.T) {
	d := newDesk(t)
	d.states["02_lesson"] = "pass"
	d.press("n")
	require.Equal(t, "03_lesson", d.lesson.Slug)
	d.press("p")
	require.Equal(t, "02_lesson", d.lesson.Slug)
	d.press("p", "p")
	d.shows("this is the first lesson")
	require.Equal(t, []string{"open 01_lesson", "open 03_lesson", "open 02_lesson", "open 01_lesson"}, d.session.asked)

	d.states["03_lesson"] = "pass"
	d.press("n")
	d.shows("the only lesson that does not pass yet")
	d.graded(verdict.Pass)
	d.shows("01_lesson passes.", "3 of 3 pass. Well done", "3/3")
	d.press("n")
	d.shows("all 3 lessons pass")
	d.press("r")
	require.Equal(t, "again", d.session.asked[len(d.session.asked)-1])
}

func TestScreen_ListOpensALesson(t *testing.T) {
	d := newDesk(t)
	d.states["03_lesson"] = "pass"
	d.press("l")
	d.shows("› ", "✓ 03_lesson", "The pod that dies young", "25 min", "enter open")
	d.press("up", "down", "down", "down", "up", "enter")
	require.Equal(t, "02_lesson", d.lesson.Slug)
	d.press("?")
	d.shows("grade again, although nothing has changed")
	d.press("esc")
	d.hides("grade again, although")
}

func TestScreen_LeavesOutWhatIsOfAnotherLesson(t *testing.T) {
	d := newDesk(t)
	late := event{verdict.Event{Type: verdict.Graded, Lesson: "01_lesson", Verdict: &verdict.Verdict{Outcome: verdict.Pass}}}
	d.press("n")
	d.feed(late)
	d.hides("passes")
	d.feed(hinted{slug: "01_lesson", text: "look at the pool", n: 1})
	d.feed(compared{slug: "01_lesson", text: "yours"})
	d.hides("look at the pool", "yours")
}

func TestScreen_TellsOfASaveThatChangesNothing(t *testing.T) {
	d := newDesk(t)
	d.graded(verdict.Fail, unbounded)
	d.event(watch.Unchanged, "")
	d.shows("nothing that is graded has changed", "✗ fail")
	d.event(watch.Again, "")
	d.hides("nothing that is graded")
}

func TestScreen_FitsEveryTerminal(t *testing.T) {
	d := newDesk(t)
	long := unbounded
	long.Message = strings.Repeat("a pool that never goes home ", 20)
	long.Detail = "WARNING: DATA RACE\n\t/tmp/x/lessons/01_lesson/a.go:41 +0x1f " + strings.Repeat("x", 200)
	pages := map[string]func(){
		"verdict": func() { d.press("esc") }, "hint": func() { d.press("h") }, "list": func() { d.press("l") },
		"keys": func() { d.press("?") }, "diff": func() { d.press("d") },
	}
	d.graded(verdict.Fail, long, long, long, long, long)
	for _, size := range []tea.WindowSizeMsg{{Width: 60, Height: 15}, {Width: 80, Height: 24}, {Width: 200, Height: 60}, {Width: 20, Height: 5}, {Width: 1, Height: 1}} {
		d.feed(size)
		for name, open := range pages {
			open()
			lines := strings.Split(d.text(), "\n")
			if size.Height >= 15 {
				require.Len(t, lines, size.Height, "%s at %v", name, size)
				require.Contains(t, lines[len(lines)-1], "q quit", "%s at %v", name, size)
			}
			for _, line := range lines {
				require.LessOrEqual(t, ansi.StringWidth(line), size.Width, "%s at %v: %q", name, size, line)
			}
		}
	}
	d.feed(tea.WindowSizeMsg{Width: 60, Height: 15})
	d.press("esc")
	d.hides("next: read")
	d.press("end")
	d.shows("next: read")
}

func TestScreen_Quits(t *testing.T) {
	for _, msg := range []tea.KeyPressMsg{{Text: "q", Code: 'q'}, {Code: 'c', Mod: tea.ModCtrl}} {
		d := newDesk(t)
		_, cmd := d.Update(msg)
		require.IsType(t, tea.QuitMsg{}, cmd())
	}
	d := newDesk(t)
	_, cmd := d.Update(closed{})
	require.IsType(t, tea.QuitMsg{}, cmd())
}

func TestScreen_TurnsTheSpinnerWhileGrading(t *testing.T) {
	d := newDesk(t)
	require.NotNil(t, d.spin())
	require.Nil(t, d.spin(), "two clocks")
	before := d.text()
	_, cmd := d.Update(tick{})
	require.NotNil(t, cmd)
	require.NotEqual(t, before, d.text())
	d.graded(verdict.Pass)
	_, cmd = d.Update(tick{})
	require.Nil(t, cmd)
}
