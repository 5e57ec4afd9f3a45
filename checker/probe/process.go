package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const programVar = "PITSTOP_PROGRAM"

// Main runs the tests, or, in a subprocess that [Start] began, the named
// program, whose result is the exit status. Call it from TestMain; it does not
// return.
func Main(m *testing.M, programs map[string]func() int) {
	name := os.Getenv(programVar)
	if name == "" {
		os.Exit(m.Run())
	}
	program, ok := programs[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "probe: no program %q\n", name)
		os.Exit(97)
	}
	os.Exit(program())
}

// Process is a real subprocess: the test binary itself, running one program.
// Its output is read line by line as it appears.
type Process struct {
	t      testing.TB
	cmd    *exec.Cmd
	report string // lines that begin so are for the test, and no learner reads them
	mu     sync.Mutex
	lines  []string
	grew   chan struct{} // closed and replaced at each new line
	ended  chan struct{} // closed when the process has been waited for
	err    error
}

// Start runs the named program in a subprocess with env added to the
// environment, and kills it when the test ends. A test that has failed then
// shows what the process printed.
func Start(t testing.TB, name string, env ...string) *Process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatalf("probe: start %s: %v", name, err)
	}
	p := &Process{t: t, cmd: exec.Command(exe), grew: make(chan struct{}), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), append(env, programVar+"="+name, "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))...)
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("probe: start %s: %v", name, err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		s := bufio.NewScanner(r)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			p.mu.Lock()
			p.lines = append(p.lines, s.Text())
			close(p.grew)
			p.grew = make(chan struct{})
			p.mu.Unlock()
		}
		_, _ = io.Copy(io.Discard, r)
	}()
	go func() {
		p.err = p.cmd.Wait()
		w.Close()
		<-read
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.ended
		if out := p.said(); t.Failed() && out != "" {
			t.Logf("output of %s:\n%s", name, out)
		}
	})
	return p
}

// Signal sends a real signal.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Output is everything printed so far.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// said is the output without the process's report to the test.
func (p *Process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := slices.Clone(p.lines)
	if p.report != "" {
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, p.report) })
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// Line waits for a line that begins with prefix and returns the rest of it.
// It gives up when ctx ends, or when the process has ended without the line.
func (p *Process) Line(ctx context.Context, prefix string) (string, error) {
	seen := 0
	for {
		p.mu.Lock()
		fresh, grew := p.lines[seen:], p.grew
		seen = len(p.lines)
		p.mu.Unlock()
		for _, l := range fresh {
			if rest, ok := strings.CutPrefix(l, prefix); ok {
				return rest, nil
			}
		}
		select {
		case <-grew:
		case <-p.ended:
			p.mu.Lock()
			done := seen == len(p.lines)
			p.mu.Unlock()
			if done {
				return "", fmt.Errorf("process ended without a line %q…", prefix)
			}
		case <-ctx.Done():
			return "", fmt.Errorf("no line %q…: %w", prefix, context.Cause(ctx))
		}
	}
}

// Running reports whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Wait waits for the end of the process and returns its exit status: -1 where
// a signal ended it, as an *exec.ExitError would say. The error is only that
// of ctx.
func (p *Process) Wait(ctx context.Context) (status int, err error) {
	select {
	case <-p.ended:
	case <-ctx.Done():
		if p.Running() {
			return 0, context.Cause(ctx)
		}
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.err); ok {
		return exit.ExitCode(), nil
	}
	return 0, nil
}
