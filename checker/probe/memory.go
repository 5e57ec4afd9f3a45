package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Cap is a memory limit on a [Process], as a container has one: who goes over
// it is killed without a word, as the kernel does it.
type Cap struct {
	peak   atomic.Int64
	killed atomic.Bool
}

// Cap watches what the process holds until it ends, and kills it once that is
// more than limit bytes; 0 only watches. What counts is memory that cannot be
// given back: not the program's own pages, where the system tells them apart.
func (p *Process) Cap(t testing.TB, limit int64) *Cap {
	t.Helper()
	c := &Cap{}
	pid := p.cmd.Process.Pid
	if _, err := resident(t.Context(), pid); err != nil && p.Running() {
		t.Fatalf("probe: cannot read how much memory a process holds: %v", err)
	}
	go func() {
		for p.Running() {
			n, err := resident(context.Background(), pid)
			if err == nil {
				c.peak.Store(max(c.peak.Load(), n))
				if limit > 0 && n > limit {
					c.killed.Store(true)
					_ = p.cmd.Process.Kill()
					return
				}
			}
			time.Sleep(10 * time.Millisecond) // reading it costs the machine more than one would think
		}
	}()
	return c
}

// Peak is the most that was seen, in bytes.
func (c *Cap) Peak() int64 { return c.peak.Load() }

// Killed reports whether the process went over the limit.
func (c *Cap) Killed() bool { return c.killed.Load() }

// resident is the memory of a process that is in use, in bytes.
func resident(ctx context.Context, pid int) (int64, error) {
	if runtime.GOOS != "linux" {
		out, err := exec.CommandContext(ctx, "ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
		if err != nil {
			return 0, err
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
		return kib << 10, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return 0, nil // it has ended
	}
	if err != nil {
		return 0, err
	}
	for _, name := range []string{"RssAnon:", "VmRSS:"} {
		if _, rest, ok := bytes.Cut(status, []byte("\n"+name)); ok {
			kib, err := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
			return kib << 10, err
		}
	}
	return 0, nil // it is ending, and holds nothing any more
}
