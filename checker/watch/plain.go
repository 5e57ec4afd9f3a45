package watch

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"pitstop/checker/lesson"
	"pitstop/checker/render"
	"pitstop/checker/verdict"
)

// Plain follows a session as lines of text, for a pipe, a log or a screen
// reader: no colour, no cursor control, one line an event. Letters on in, one
// a line, do what the keys of the screen do; its end is not the end. Plain
// returns when ctx is done, or at q, with the session ended.
func Plain(ctx context.Context, s *Session, g *Guide, first *lesson.Lesson, in io.Reader, out io.Writer) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for range s.Events {
		}
	}()
	p := &plain{session: s, guide: g, lesson: first, out: out}
	letters := make(chan string)
	if in != nil {
		go func() {
			for sc := bufio.NewScanner(in); sc.Scan(); {
				select {
				case letters <- strings.TrimSpace(sc.Text()):
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	go s.Run(ctx)
	s.Open(first)
	for {
		select {
		case ev, ok := <-s.Events:
			if !ok {
				return
			}
			p.event(ev)
		case letter := <-letters:
			if letter == "q" {
				return
			}
			p.letter(letter)
		case <-ctx.Done():
			return
		}
	}
}

type plain struct {
	session *Session
	guide   *Guide
	lesson  *lesson.Lesson
	out     io.Writer
	since   time.Time // when the grading began
	waited  bool      // it was said that a save is waited for
	last    string
}

const patience = 2 * time.Second // before a step is worth a line

func (p *plain) event(ev verdict.Event) {
	if ev.Lesson != p.lesson.Slug {
		return // of a lesson that was left meanwhile
	}
	switch ev.Type {
	case Opened:
		p.since, p.waited = time.Now(), false
		p.say("%s: %s; grading", ev.Lesson, ev.Message)
	case Saved:
		p.since = time.Now()
		p.say("%s: saved, grading", ev.Lesson)
	case Again:
		p.since = time.Now()
		p.say("%s: grading again", ev.Lesson)
	case Unchanged:
		p.say("%s: saved, and nothing that is graded has changed (r grades again)", ev.Lesson)
	case verdict.Warning:
		p.say("warning: %s", ev.Message)
	case verdict.Step:
		if time.Since(p.since) > patience {
			p.say("%s: %s", ev.Lesson, ev.Message)
		}
	case verdict.Graded:
		for _, line := range render.Lines(p.lesson, *ev.Verdict) {
			p.say("%s", line)
		}
		if !p.waited {
			p.waited = true
			p.say("%s: waiting for a save of %s", ev.Lesson, files(p.lesson))
		}
	}
}

func (p *plain) letter(letter string) {
	switch letter {
	case "":
	case "h":
		text, n, err := p.guide.Hint(p.lesson, 0)
		if err != nil {
			p.say("warning: %v", err)
		}
		p.say("%s: hint %d of %d: %s", p.lesson.Slug, n, len(p.lesson.Hints), oneLine(text))
	case "d":
		text, err := p.guide.Diff(p.lesson)
		if err != nil {
			p.say("%s: %v", p.lesson.Slug, err)
			return
		}
		for line := range strings.Lines(text) {
			p.say("    %s", strings.TrimRight(line, "\n"))
		}
	case "n":
		if next := p.guide.Next(p.lesson); next != nil {
			p.open(next)
		} else if p.guide.State(p.lesson) == "pass" {
			p.say("all %d lessons pass; well done", len(p.guide.Lessons))
		} else {
			p.say("%s: the only lesson that does not pass yet", p.lesson.Slug)
		}
	case "p":
		if l := p.guide.Previous(p.lesson); l != nil {
			p.open(l)
		} else {
			p.say("%s: the first lesson", p.lesson.Slug)
		}
	case "r":
		p.session.Again()
	default:
		p.say("the letters are h (hint), d (diff), n (next), p (previous), r (grade again) and q (quit), one a line")
	}
}

func (p *plain) open(l *lesson.Lesson) {
	p.lesson = l
	p.session.Open(l)
}

// say prints one line. Something that writes without end beside the lesson
// does not fill the log with one and the same.
func (p *plain) say(format string, args ...any) {
	line := ansi.Strip(fmt.Sprintf(format, args...))
	if strings.Contains(line, "nothing that is graded") && line == p.last {
		return
	}
	p.last = line
	fmt.Fprintln(p.out, line)
}

func files(l *lesson.Lesson) string {
	return l.Folder() + "/" + strings.Join(l.Edit, ", ")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
