package cli

import (
	"fmt"
	"os/exec"
)

// runnable runs a program to see that its folder allows it.
func runnable(p string) error {
	if err := exec.Command(p).Run(); err != nil {
		return fmt.Errorf("a program in it cannot be run: %w", err)
	}
	return nil
}
