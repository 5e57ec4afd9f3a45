package gotool

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asChecker makes this test binary run the program that it names, as a
// checker does, in place of its tests.
const asChecker = "PITSTOP_TEST_CHECKER"

func TestMain(m *testing.M) {
	if program := os.Getenv(asChecker); program != "" {
		_, err := Run(context.Background(), Job{Binary: program, Dir: filepath.Dir(program), Tests: []string{"TestA"}, Limits: DefaultLimits})
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program writes a shell script that says its process id and then does more.
func program(t *testing.T, more string) (path, pidFile string) {
	t.Helper()
	dir := t.TempDir()
	path, pidFile = filepath.Join(dir, "program"), filepath.Join(dir, "pid")
	script := "#!/bin/sh\necho $$ > pid.tmp && mv pid.tmp pid\n" + more + "\n"
	require.NoError(t, os.WriteFile(path, []byte(script), 0o755))
	return path, pidFile
}

// soon polls for a condition, for as long as a slow machine may need.
func soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so in time: %s", what)
		}
	}
}

func pidIn(file string) int {
	b, _ := os.ReadFile(file)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

func TestRun_EndsWithTheChecker(t *testing.T) {
	path, file := program(t, "exec sleep 300")
	exe, err := os.Executable()
	require.NoError(t, err)
	checker := exec.CommandContext(t.Context(), exe)
	checker.Env = append(os.Environ(), asChecker+"="+path)
	require.NoError(t, checker.Start())
	soon(t, "the tests have begun", func() bool { return pidIn(file) != 0 })
	pid := pidIn(file)
	require.NoError(t, checker.Process.Kill())
	_ = checker.Wait()
	soon(t, "the tests have ended with the checker", func() bool {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		return err != nil || strings.Contains(string(b), ") Z ")
	})
}

func TestRun_SaysHowItEnded(t *testing.T) {
	for _, c := range []struct {
		name, script string
		want         Result
	}{
		{"status", "exit 7", Result{Status: 7}},
		{"signal", "kill -9 $$", Result{Status: -1, Signal: "killed"}},
		{"time, and deaf", "trap '' QUIT; while :; do sleep 0.01; done", Result{Status: -1, Signal: "killed", Stop: StopTime}},
		{"output", "while :; do echo many words; done", Result{Status: -1, Signal: "killed", Stop: StopOutput}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, _ := program(t, c.script)
			lim := Limits{Time: time.Second, Output: 1 << 20, Memory: 1 << 30}
			if c.want.Stop != StopTime {
				lim.Time = 20 * time.Second
			}
			res, err := Run(t.Context(), Job{Binary: path, Dir: filepath.Dir(path), Tests: []string{"TestA"}, Limits: lim})
			require.NoError(t, err)
			require.Equal(t, c.want, Result{Status: res.Status, Signal: res.Signal, Stop: res.Stop})
			require.LessOrEqual(t, res.Leftover, 1) // a sleep of the loop's
		})
	}
}

func TestRun_KillsWhatLeftItsGroup(t *testing.T) {
	path, file := program(t, "(setsid sh -c 'echo $$ > child.tmp; mv child.tmp child; exec sleep 300' &)\nwhile [ ! -e child ]; do sleep 0.01; done")
	res, err := Run(t.Context(), Job{Binary: path, Dir: filepath.Dir(path), Tests: []string{"TestA"}, Limits: DefaultLimits})
	require.NoError(t, err)
	require.Equal(t, 0, res.Status)
	require.Equal(t, 1, res.Leftover)
	child := pidIn(filepath.Join(filepath.Dir(file), "child"))
	soon(t, "the child has ended", func() bool {
		b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(child), "stat"))
		return syscall.Kill(child, 0) != nil || strings.Contains(string(b), ") Z ")
	})
}

func TestRun_EndsWithItsContext(t *testing.T) {
	path, file := program(t, "exec sleep 300")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for pidIn(file) == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel(os.ErrClosed)
	}()
	_, err := Run(ctx, Job{Binary: path, Dir: filepath.Dir(path), Tests: []string{"TestA"}, Limits: DefaultLimits})
	require.ErrorIs(t, err, os.ErrClosed)
	require.Error(t, syscall.Kill(pidIn(file), 0))
}
