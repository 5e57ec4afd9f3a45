package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
)

// ps prints one JSON line for each process that can be seen from here: a
// debugging container sees those of the container that it targets.
func ps(enc *json.Encoder) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue // ended meanwhile
		}
		command := string(bytes.TrimSpace(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
		if err := enc.Encode(map[string]any{"pid": pid, "command": command}); err != nil {
			return err
		}
	}
	return nil
}
