package gotool

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// endsWithParent says whether the tests end when the checker is killed.
const endsWithParent = true

// dieWithParent has the kernel kill the tests when the thread that starts
// them ends; the caller holds on to its thread until they have ended.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL }

// askBusiest sends SIGQUIT to the thread that runs and has used the most time,
// and reports whether there is one. A busy goroutine changes threads and may
// be between two, so it looks more than once.
func askBusiest(pid int) bool {
	for range 20 {
		if tid := busiest(pid); tid != 0 {
			return syscall.Tgkill(pid, tid, syscall.SIGQUIT) == nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}

// busiest is the thread of a process that runs and has used the most time; 0
// where none runs.
func busiest(pid int) (tid int) {
	tasks := filepath.Join("/proc", strconv.Itoa(pid), "task")
	entries, err := os.ReadDir(tasks)
	if err != nil {
		return 0
	}
	most := int64(-1)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(tasks, e.Name(), "stat"))
		if err != nil {
			continue
		}
		// tid (name) state … utime is field 14; the name may hold spaces.
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) < 12 || f[0] != "R" {
			continue
		}
		if used, _ := strconv.ParseInt(f[11], 10, 64); used > most {
			tid, _ = strconv.Atoi(e.Name())
			most = used
		}
	}
	return tid
}
