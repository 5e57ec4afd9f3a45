package gotool

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	parallel   = 8                      // tests that say they may run side by side mostly wait for signals and clocks
	waitDelay  = 2 * time.Second        // for pipes to drain after a process has ended
	dumpDelay  = 2 * time.Second        // for a stuck process to print its stacks
	growDelay  = 500 * time.Millisecond // the same, for one that grows meanwhile if it is deaf
	pollMemory = 100 * time.Millisecond // between two readings of a group's memory
)

// Limits bound one run of a test binary.
type Limits struct {
	Time   time.Duration
	Output int64 // bytes
	Memory int64 // resident bytes of the process and its children together
}

// DefaultLimits serve a lesson that names none of its own.
var DefaultLimits = Limits{Time: 25 * time.Second, Output: 8 << 20, Memory: 1 << 30}

// Stop says why a run was ended before its time.
type Stop string

const (
	StopNone   Stop = ""
	StopTime   Stop = "time"
	StopOutput Stop = "output"
	StopMemory Stop = "memory"
)

// Result is how a run ended. Report is what the stream said until then.
type Result struct {
	Report   *Report
	Status   int // exit status; -1 where a signal ended it
	Signal   string
	Stop     Stop
	Leftover int   // processes that outlived the tests and were killed
	Peak     int64 // resident bytes, the most that was seen; 0 where it cannot be read
	Printed  int64 // bytes
	Limits   Limits
}

// Job is one run of a test binary.
type Job struct {
	Binary string
	Dir    string   // where it runs, and what it has for HOME and TMPDIR
	Tests  []string // top-level names
	Count  int      // how often each runs; 0 means once
	Env    []string // besides what every run has
	Limits Limits
}

// Run runs a test binary in a process group of its own and leaves no process
// behind. The error is the machine's; how the tests did is in the result.
func Run(ctx context.Context, job Job) (*Result, error) {
	lim := job.Limits
	token := rand.Text()
	cmd := exec.Command(job.Binary, //nolint:noctx // the supervisor ends it, and asks for its stacks first
		"-test.v=test2json", "-test.paniconexit0",
		fmt.Sprintf("-test.count=%d", max(1, job.Count)),
		fmt.Sprintf("-test.timeout=%s", testTimeout(lim)),
		fmt.Sprintf("-test.parallel=%d", parallel),
		"-test.run=^("+strings.Join(job.Tests, "|")+")$")
	cmd.Dir = job.Dir
	cmd.Env = append(runEnv(job.Dir, token), job.Env...)
	ownGroup(cmd)
	// The kernel ties the tests' life to the thread that starts them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dieWithParent(cmd)
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close()
	if err != nil {
		return nil, fmt.Errorf("start tests: %w", err)
	}
	res := &Result{Report: newReport(), Limits: lim}
	s := &supervisor{pid: cmd.Process.Pid, stop: make(chan struct{})}

	var printed atomic.Int64
	read := make(chan struct{})
	go func() {
		defer close(read)
		in := bufio.NewReaderSize(r, 64<<10)
		for {
			line, err := in.ReadSlice('\n')
			if n := printed.Add(int64(len(line))); n > lim.Output {
				s.kill(StopOutput)
				_, _ = io.Copy(io.Discard, in)
				return
			}
			res.Report.line(line, errors.Is(err, bufio.ErrBufferFull))
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				return
			}
		}
	}()
	var watch sync.WaitGroup
	watch.Go(func() { s.watchTime(ctx, lim.Time) })
	watch.Go(func() { s.watchMemory(ctx, lim.Memory) })

	err = cmd.Wait()
	close(s.stop)
	res.Leftover = sweep(cmd.Process.Pid, token, job.Dir)
	watch.Wait()
	select {
	case <-read:
	case <-time.After(waitDelay):
		_ = r.SetReadDeadline(time.Now()) // somebody still holds the other end
		r.Close()
		<-read
	}
	res.Report.close()
	res.Printed = printed.Load()
	res.Stop, res.Peak = s.why, s.peak
	res.Status = cmd.ProcessState.ExitCode()
	res.Signal = signalOf(cmd.ProcessState)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return nil, fmt.Errorf("run tests: %w", err)
	}
	return res, nil
}

// testTimeout is for the testing package's own alarm. Where the tests cannot
// outlive the checker there is none: without it the runtime sees at once that
// all goroutines are asleep (not so under -race). Elsewhere ours comes first.
func testTimeout(lim Limits) time.Duration {
	if endsWithParent {
		return 0
	}
	return 2 * lim.Time
}

// runEnv is the whole environment of a test run: nothing of the learner's
// shell can change a verdict. The race detector's second of sleep at exit is
// taken away; reports are written before it.
func runEnv(dir, token string) []string {
	env := []string{
		"HOME=" + dir, "TMPDIR=" + dir, "PWD=" + dir, "TZ=UTC", "LANG=C.UTF-8", "GOTRACEBACK=all",
		"GORACE=atexit_sleep_ms=0", tokenVar + "=" + token, "GODEBUG=", "PATH=" + os.Getenv("PATH"),
	}
	if root := os.Getenv("GOROOT"); root != "" {
		env = append(env, "GOROOT="+root)
	}
	// With one processor the runtime changes goroutines at points of its own
	// choice, and what two do at once can never go wrong.
	if runtime.NumCPU() == 1 {
		env = append(env, "GOMAXPROCS=2")
	}
	return slices.Clip(env)
}

// tokenVar marks a run's processes, so that one that left its group is found.
const tokenVar = "PITSTOP_RUN"

// supervisor ends a run for one reason, the first.
type supervisor struct {
	pid  int
	mu   sync.Mutex
	why  Stop
	peak int64
	stop chan struct{} // closed when the process has ended
}

func (s *supervisor) set(why Stop) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != StopNone {
		return false
	}
	s.why = why
	return true
}

func (s *supervisor) kill(why Stop) {
	if s.set(why) {
		_ = killGroup(s.pid)
	}
}

// watchTime ends a run that takes too long.
func (s *supervisor) watchTime(ctx context.Context, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-s.stop:
		return
	case <-ctx.Done():
		_ = killGroup(s.pid)
		return
	case <-timer.C:
	}
	s.dump(ctx, StopTime, dumpDelay)
}

// dump asks a run for its stacks and then ends it.
func (s *supervisor) dump(ctx context.Context, why Stop, wait time.Duration) {
	if !s.set(why) {
		return
	}
	askStacks(s.pid)
	select {
	case <-s.stop:
	case <-ctx.Done():
	case <-time.After(wait):
	}
	_ = killGroup(s.pid)
}

func (s *supervisor) watchMemory(ctx context.Context, limit int64) {
	tick := time.NewTicker(pollMemory)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		rss := groupMemory(s.pid)
		s.mu.Lock()
		s.peak = max(s.peak, rss)
		s.mu.Unlock()
		if rss > limit {
			s.dump(ctx, StopMemory, growDelay)
			return
		}
	}
}
