package probe

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
)

// How a busy machine is told from a process that hangs.
const (
	moves   = 20 * time.Millisecond // less CPU time than this is none: the runtime itself uses a little
	starved = 10                    // so many limits a process may take that goes on, however slowly
)

// stuck gives a context that ends when the process does nothing for as long as
// the limit, or has used so much CPU time and is not done. A machine that has
// other things to do makes neither of these: what counts is the time that the
// process gets. Where the system does not tell, the clock on the wall decides.
func (p *Process) stuck(limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		start := time.Now()
		moved, used := start, time.Duration(0)
		for p.Running() && ctx.Err() == nil {
			now, known := p.cpu()
			if now-used >= moves {
				moved, used = time.Now(), now
			}
			switch {
			case time.Since(moved) > limit:
				cancel(fmt.Errorf("nothing moved for %v", limit))
			case known && now > limit:
				cancel(fmt.Errorf("it ran for %v and came to no end", limit))
			case time.Since(start) > starved*limit:
				cancel(fmt.Errorf("it came to no end in %v", starved*limit))
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// ticks is the unit of the CPU times in /proc, on every Linux that Go runs on.
const ticks = 10 * time.Millisecond

// cpu is the CPU time that the process has used, where the system tells.
func (p *Process) cpu() (used time.Duration, known bool) {
	if runtime.GOOS != "linux" {
		return 0, false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, false
	}
	// The name, in brackets, may hold anything; user and system time are the
	// twelfth and thirteenth field behind it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, false
	}
	for _, f := range fields[11:13] {
		n, _ := strconv.ParseInt(string(f), 10, 64)
		used += time.Duration(n) * ticks
	}
	return used, true
}
