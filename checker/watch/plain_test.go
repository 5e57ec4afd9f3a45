package watch

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pitstop/checker/lesson"
)

// console is a person at the plain mode.
type console struct {
	*bench
	in    *io.PipeWriter
	lines chan string
	done  chan struct{}
	end   context.CancelFunc
}

func newConsole(t *testing.T, gates ...string) *console {
	t.Helper()
	b := newBench(t, gates...)
	hints := 0
	state := func(l *lesson.Lesson) string {
		return map[bool]string{true: "pass", false: "fail"}[b.passes(l)]
	}
	g := &Guide{
		Lessons: b.lessons,
		State:   state,
		Hint: func(l *lesson.Lesson, level int) (string, int, error) {
			hints++
			return "look\nhere", hints, errors.New("progress is not kept")
		},
		Diff: func(l *lesson.Lesson) (string, error) {
			if state(l) != "pass" {
				return "", ErrNotYet
			}
			return "\x1b[31m-bad\x1b[m\n+good\n", nil
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	in, letters := io.Pipe()
	out, print := io.Pipe()
	c := &console{bench: b, in: letters, lines: make(chan string), done: make(chan struct{}), end: cancel}
	go func() {
		defer close(c.done)
		defer print.Close()
		Plain(ctx, b.Session, g, b.lessons[0], in, print)
	}()
	go func() {
		defer close(c.lines)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			c.lines <- sc.Text()
		}
	}()
	t.Cleanup(func() {
		cancel()
		for range c.lines {
		}
		<-c.done
		require.Zero(t, b.running, "a grading outlived the console")
	})
	return c
}

func (c *console) press(letter string) {
	c.t.Helper()
	_, err := io.WriteString(c.in, letter+"\n")
	require.NoError(c.t, err)
}

func (c *console) sees(want string) {
	c.t.Helper()
	var seen []string
	deadline := time.After(patient)
	for {
		select {
		case line, ok := <-c.lines:
			if ok && strings.Contains(line, want) {
				require.NotContains(c.t, line, "\x1b")
				return
			}
			if !ok {
				c.t.Fatalf("it ended without %q; it said:\n%s", want, strings.Join(seen, "\n"))
			}
			seen = append(seen, line)
		case <-deadline:
			c.t.Fatalf("no line with %q; it said:\n%s", want, strings.Join(seen, "\n"))
		}
	}
}

func TestPlain_TellsEverySave(t *testing.T) {
	c := newConsole(t)
	c.sees("01_one: Title of 01_one; grading")
	c.sees("01_one: fail: x.y: bad")
	c.sees("next: ")
	c.sees("01_one: waiting for a save of lessons/01_one/a.go")
	c.save(c.lessons[0], "good")
	c.sees("01_one: saved, grading")
	c.sees("01_one: pass")
	c.sees("next: ")
	c.save(c.lessons[0], "good")
	c.sees("nothing that is graded has changed")
}

func TestPlain_TakesLetters(t *testing.T) {
	c := newConsole(t)
	c.sees("waiting for a save")
	c.press("h")
	c.sees("warning: progress is not kept")
	c.sees("01_one: hint 1 of 3: look here")
	c.press("d")
	c.sees("opens once this lesson passes")
	c.press("r")
	c.sees("01_one: grading again")
	c.sees("fail: x.y: bad")
	c.press("?")
	c.sees("the letters are")
	c.press("p")
	c.sees("the first lesson")
	c.press("n")
	c.sees("02_two: Title of 02_two; grading")
	c.sees("02_two: waiting for a save")
	c.save(c.lessons[1], "good")
	c.sees("02_two: pass")
	c.press("d")
	c.sees("-bad")
	c.press("q")
	select {
	case <-drained(c):
	case <-time.After(patient):
		t.Fatal("q did not end it")
	}
}

func TestPlain_SaysWhenAllPass(t *testing.T) {
	c := newConsole(t)
	for _, l := range c.lessons {
		c.save(l, "good")
	}
	c.sees("01_one: pass")
	c.press("n")
	c.sees("all 3 lessons pass")
}

func TestPlain_TheEndOfInputIsNotTheEnd(t *testing.T) {
	c := newConsole(t)
	c.sees("waiting for a save")
	c.in.Close()
	c.save(c.lessons[0], "good")
	c.sees("01_one: pass")
	c.end()
	select {
	case <-drained(c):
	case <-time.After(patient):
		t.Fatal("a signal did not end it")
	}
}

func TestPlain_EndsWhileGrading(t *testing.T) {
	c := newConsole(t, "bad")
	c.sees("grading")
	c.end()
	select {
	case <-drained(c):
	case <-time.After(patient):
		t.Fatal("a signal did not end it")
	}
}

// drained reads what is still said and then waits for the end.
func drained(c *console) chan struct{} {
	all := make(chan struct{})
	go func() {
		defer close(all)
		for range c.lines {
		}
		<-c.done
	}()
	return all
}
