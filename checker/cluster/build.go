package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pitstop/checker/author"
	"pitstop/checker/gotool"
	"pitstop/checker/lesson"
)

// overlay writes below tmp what puts the lessons, in the state that from names,
// in the place of the tree's, and returns the JSON file for the go command's
// -overlay. The learner's own state is the tree, and needs none.
func (s *Session) overlay(from Source, tmp string) (string, error) {
	if from == Learner {
		return "", nil
	}
	w := s.Workshop
	l, err := lesson.Find(w.Pristine.Lessons, Capstone)
	if err != nil {
		return "", err
	}
	of := author.Mended
	if from == Unsolved {
		of = author.Shipped
	}
	c, err := of(w, l)
	if err != nil {
		return "", err
	}
	return c.Overlay(w.Root, tmp, w.Pristine.Base, nil)
}

// program builds one of the capstone's programs from the given source.
func (s *Session) program(ctx context.Context, from Source, name, arch string, stamp map[string]string) (string, error) {
	dir, err := os.MkdirTemp(s.Tmp, name+"-")
	if err != nil {
		return "", err
	}
	overlay, err := s.overlay(from, dir)
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, name)
	err = s.Tool.Program(ctx, gotool.Program{
		Root: s.Workshop.Root, Package: "./lessons/" + Capstone + "/cmd/" + name,
		Overlay: overlay, Out: out, Arch: arch, Stamp: stamp,
	})
	return out, err
}

// revision is the commit of the tree, with a word on changes that are in none.
func (s *Session) revision(ctx context.Context) string {
	out, err := s.run(ctx, nil, "git", "-C", s.Workshop.Root, "rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "unknown"
	}
	rev := strings.TrimSpace(out)
	if out, err := s.run(ctx, nil, "git", "-C", s.Workshop.Root, "status", "--porcelain"); err != nil || strings.TrimSpace(out) != "" {
		rev += "-dirty"
	}
	return rev
}

// contentVersion names what goes into an image. Who changes something gets
// another version, so that a rollout follows, and who does not gets the same.
func contentVersion(parts map[string][]byte) string {
	h := sha256.New()
	for _, name := range sortedKeys(parts) {
		fmt.Fprintf(h, "%s %d\n", name, len(parts[name]))
		h.Write(parts[name])
	}
	return "v0.0.0-" + hex.EncodeToString(h.Sum(nil))[:12]
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
