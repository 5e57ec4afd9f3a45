package cli

import (
	"os/exec"
	"strings"
	"testing"
)

// goEnv asks the go command, because scripts run with another HOME.
func goEnv(t *testing.T, key string) string {
	out, err := exec.Command("go", "env", key).Output()
	if err != nil {
		t.Fatalf("go env %s: %v", key, err)
	}
	return strings.TrimSpace(string(out))
}
