//go:build linux || darwin

package probe

import "syscall"

// OpenFiles bounds how many files and connections this process may have open
// at a time. It is for a program that [Start] runs: what it has open stays so,
// and the next one over n is refused with "too many open files".
func OpenFiles(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = min(n, limit.Max)
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
