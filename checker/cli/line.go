package cli

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// line is the live progress line: on a terminal one line that is written
// over and shows that time passes; elsewhere a line a step.
type line struct {
	w     io.Writer
	live  bool
	mu    sync.Mutex
	text  string
	since time.Time
	timer *time.Timer
}

const lineWidth = 100

func newLine(w io.Writer, live bool) *line { return &line{w: w, live: live} }

func (l *line) show(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.live {
		fmt.Fprintln(l.w, text)
		return
	}
	if l.text == "" {
		l.since = time.Now()
	}
	l.text = text
	l.draw()
}

// draw writes the line over, and does so again in a second while it stands.
func (l *line) draw() {
	fmt.Fprintf(l.w, "\r\x1b[K%s", ansi.Truncate(fmt.Sprintf("%3.0f s  %s", time.Since(l.since).Seconds(), l.text), lineWidth, "…"))
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer = time.AfterFunc(time.Second, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.text != "" {
			l.draw()
		}
	})
}

func (l *line) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.live || l.text == "" {
		return
	}
	l.text = ""
	l.timer.Stop()
	fmt.Fprint(l.w, "\r\x1b[K")
}
