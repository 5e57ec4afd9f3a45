package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"syscall"

	"pitstop/checker/lesson"
)

// watch is a checker that watches one lesson over a plain pipe.
type watch struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	ended *regexp.Regexp
}

func startWatch(ctx context.Context, checker, root string, l *lesson.Lesson) (*watch, error) {
	w := &watch{
		cmd:   exec.CommandContext(ctx, checker, "watch", l.Slug),
		ended: regexp.MustCompile(`^` + regexp.QuoteMeta(l.Slug) + `: (error|skip)\b`),
	}
	w.cmd.Dir = root
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	w.lines = bufio.NewScanner(out)
	return w, w.cmd.Start()
}

// verdict waits for the next one, to its last line.
func (w *watch) verdict() error {
	for w.lines.Scan() {
		line := w.lines.Text()
		if m := w.ended.FindStringSubmatch(line); m != nil {
			return fmt.Errorf("the checker could not grade: %s", line)
		}
		if strings.HasPrefix(line, "next: ") {
			return nil
		}
	}
	return errors.Join(errors.New("the checker ended"), w.lines.Err())
}

func (w *watch) stop() {
	w.cmd.Process.Signal(syscall.SIGTERM)
	_ = w.cmd.Wait() // the signal is its end
}
