package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// emptyBase is what ko builds upon: it knows no FROM scratch of its own, so
// an image without a file stands in.
const emptyBase = "ko.local/scratch:1"

// buildWithKo builds the program into an image with ko: no Dockerfile, no
// registry. It is built twice, since ko promises the same image each time.
func (s *Session) buildWithKo(ctx context.Context, r *Record) error {
	if _, err := exec.LookPath("ko"); err != nil {
		return skip("ko is not on PATH; go install github.com/google/ko@latest, and put $(go env GOPATH)/bin on PATH")
	}
	b := s.image
	if _, err := s.inspect(ctx, emptyBase); err != nil {
		r.Say("docker import of an empty image as %s", emptyBase)
		if _, err := s.run(ctx, bytes.NewReader(make([]byte, 1024)), "docker", "import", "--change", "USER 65532:65532", "-", emptyBase); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp(s.Tmp, "ko-")
	if err != nil {
		return err
	}
	type build struct {
		ID      string   `json:"id"`
		Main    string   `json:"main"`
		Env     []string `json:"env"`
		Flags   []string `json:"flags"`
		Ldflags []string `json:"ldflags"`
	}
	own := build{ID: Name, Main: "./lessons/" + Capstone + "/cmd/" + Name, Env: []string{"CGO_ENABLED=0"},
		Flags:   []string{"-trimpath", "-buildvcs=false"},
		Ldflags: []string{"-s", "-w", "-buildid=", "-X=main.version=" + b.Version, "-X=main.revision=" + b.Revision}}
	if s.Source != Learner {
		overlay, err := s.overlay(s.Source, dir)
		if err != nil {
			return err
		}
		own.Flags = append(own.Flags, "-overlay="+overlay)
	}
	config, err := json.Marshal(map[string]any{"builds": []build{own}}) // JSON is YAML
	if err != nil {
		return err
	}
	at := filepath.Join(dir, ".ko.yaml")
	if err := os.WriteFile(at, config, 0o600); err != nil {
		return err
	}
	var twice [2]inspected
	for i := range twice {
		r.Say("ko build --local, %d of 2", i+1)
		cmd := s.command(ctx, "ko", "build", "--local", "--base-import-paths", "--sbom=none", "--platform=linux/"+b.Arch, "--tags", b.Version,
			"--image-label", "org.opencontainers.image.version="+b.Version,
			"--image-label", "org.opencontainers.image.revision="+b.Revision, own.Main)
		cmd.Dir = s.Workshop.Root
		cmd.Env = append(cmd.Env, "KO_DEFAULTBASEIMAGE="+emptyBase, "KO_CONFIG_PATH="+at, "GOTOOLCHAIN=local")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return &toolError{tool: "ko", what: "build", said: strings.TrimSpace(stderr.String()), err: err}
		}
		if twice[i], err = s.inspect(ctx, lastLine(string(out))); err != nil {
			return err
		}
	}
	id := 1.0
	if twice[0].ID == twice[1].ID {
		id = 0
	}
	if !r.Equal("image IDs that differ between two builds", id, 0, "") {
		r.Find("image.reproducible", "Two builds by ko gave two images.")
	}
	c := twice[0].Config
	if c.Labels["org.opencontainers.image.version"] != b.Version || !slices.Contains([]string{"65532", "65532:65532"}, c.User) {
		r.Find("image.ko", "ko's image runs as %q and has the labels %v.", c.User, c.Labels)
	}
	r.Note("image", float64(twice[0].Size), "B")
	return nil
}
