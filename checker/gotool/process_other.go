//go:build !unix

package gotool

import (
	"os"
	"os/exec"
)

// Grading needs process groups and real signals. On Windows the workshop runs
// inside WSL; there these do nothing, and doctor says so.

func ownGroup(*exec.Cmd)               {}
func killGroup(pid int) error          { return kill(pid) }
func askStacks(pid int)                { kill(pid) }
func signalOf(*os.ProcessState) string { return "" }
func sweep(int, string, string) int    { return 0 }
func groupMemory(int) int64            { return 0 }

func kill(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return p.Kill()
}
