//go:build unix

package gotool

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(pid int) error { return syscall.Kill(-pid, syscall.SIGKILL) }

// askStacks makes a Go program print all its goroutines and exit. The stack
// of a goroutine that runs is known only to the thread that it runs on, so
// the busiest thread is asked, where the system can tell which that is.
func askStacks(pid int) {
	if !askBusiest(pid) {
		_ = syscall.Kill(pid, syscall.SIGQUIT)
	}
}

func signalOf(s *os.ProcessState) string {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return ws.Signal().String()
	}
	return ""
}

// sweep kills what a run left behind and reports how many processes that was:
// the rest of its group, and on Linux whatever left the group but carries the
// run's token or stands in its folder.
func sweep(pid int, token, dir string) int {
	// A grandchild that the tests killed may be a moment from its end.
	for range 20 {
		if syscall.Kill(-pid, 0) != nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	left := map[int]bool{}
	// One that starts another while it is killed is why once is not enough.
	for range 20 {
		found := false
		for _, p := range processes() {
			if p.group == pid || belongs(p.pid, token, dir) {
				found, left[p.pid] = true, true
				_ = syscall.Kill(p.pid, syscall.SIGKILL)
			}
		}
		if !found {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	return len(left)
}

type process struct {
	pid, group int
	rss        int64 // bytes
}

// groupMemory sums the resident bytes of a group; 0 where it cannot be read.
func groupMemory(group int) (rss int64) {
	for _, p := range processes() {
		if p.group == group {
			rss += p.rss
		}
	}
	return rss
}

// processes lists what runs, zombies left out.
func processes() []process {
	if runtime.GOOS == "linux" {
		return procfs()
	}
	out, err := exec.Command("ps", "-axo", "pid=,pgid=,rss=,stat=").Output()
	if err != nil {
		return nil
	}
	var list []process
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 4 || strings.HasPrefix(f[3], "Z") {
			continue
		}
		pid, _ := strconv.Atoi(f[0])
		group, _ := strconv.Atoi(f[1])
		kib, _ := strconv.ParseInt(f[2], 10, 64)
		list = append(list, process{pid, group, kib << 10})
	}
	return list
}

// belongs reports whether a process is of the run with the token in dir,
// whatever group it is in.
func belongs(pid int, token, dir string) bool {
	if runtime.GOOS != "linux" || pid == os.Getpid() {
		return false
	}
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	if env, err := os.ReadFile(filepath.Join(proc, "environ")); err == nil && bytes.Contains(env, []byte(tokenVar+"="+token)) {
		return true
	}
	cwd, err := os.Readlink(filepath.Join(proc, "cwd"))
	return err == nil && (cwd == dir || strings.HasPrefix(cwd, dir+"/"))
}

func procfs() []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	page := int64(os.Getpagesize())
	var list []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// pid (name) state ppid pgrp … rss is field 24; the name may hold spaces.
		_, rest, ok := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ")
		f := strings.Fields(rest)
		if !ok || len(f) < 22 || f[0] == "Z" || f[0] == "X" {
			continue
		}
		group, _ := strconv.Atoi(f[2])
		pages, _ := strconv.ParseInt(f[21], 10, 64)
		list = append(list, process{pid, group, pages * page})
	}
	return list
}
