package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"pitstop/checker/gotool"
	"pitstop/checker/lesson"
	"pitstop/checker/workshop"
)

// ReferenceOverlay writes below tmp what puts every lesson's reference mend in
// the learner's place, and returns the JSON file for the go command's
// -overlay. Nothing is written to the lessons.
func ReferenceOverlay(w *workshop.Workshop, tmp string) (string, error) {
	return serviceOverlay(w, tmp, func(l *lesson.Lesson) (map[string][]byte, error) {
		s, err := w.Solution(l)
		if err != nil {
			return nil, err
		}
		return s.Reference, nil
	})
}

// UnsolvedOverlay is [ReferenceOverlay] for the lessons as they were shipped.
func UnsolvedOverlay(w *workshop.Workshop, tmp string) (string, error) {
	return serviceOverlay(w, tmp, func(l *lesson.Lesson) (map[string][]byte, error) { return l.Unsolve(), nil })
}

func serviceOverlay(w *workshop.Workshop, tmp string, mend func(*lesson.Lesson) (map[string][]byte, error)) (string, error) {
	replace := map[string]string{}
	for _, l := range w.Pristine.Lessons {
		files, err := mend(l)
		if err != nil {
			return "", err
		}
		folder := filepath.Join(w.Root, filepath.FromSlash(l.Folder()))
		for name, b := range files {
			if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
				continue
			}
			to := filepath.Join(tmp, filepath.FromSlash(l.Folder()), filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
				return "", err
			}
			if err := os.WriteFile(to, b, 0o600); err != nil {
				return "", err
			}
			replace[filepath.Join(folder, filepath.FromSlash(name))] = to
		}
		inTheWay, err := ownGo(folder, l)
		if err != nil {
			return "", err
		}
		for _, name := range inTheWay {
			if at := filepath.Join(folder, filepath.FromSlash(name)); replace[at] == "" {
				replace[at] = ""
			}
		}
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	to := filepath.Join(tmp, "overlay.json")
	return to, os.WriteFile(to, b, 0o600)
}

// ownGo lists the Go files of a lesson's folder that are the learner's.
func ownGo(folder string, l *lesson.Lesson) ([]string, error) {
	var names []string
	err := filepath.WalkDir(folder, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(folder, p)
		if name := filepath.ToSlash(rel); err == nil && path.Ext(name) == ".go" && !strings.HasSuffix(name, "_test.go") && l.Editable(name) {
			names = append(names, name)
		}
		return err
	})
	return names, err
}

// program builds one of the capstone's programs from the given source.
func (s *Session) program(ctx context.Context, from Source, name, arch string, stamp map[string]string) (string, error) {
	dir, err := os.MkdirTemp(s.Tmp, name+"-")
	if err != nil {
		return "", err
	}
	overlay := ""
	switch from {
	case Reference:
		overlay, err = ReferenceOverlay(s.Workshop, dir)
	case Unsolved:
		overlay, err = UnsolvedOverlay(s.Workshop, dir)
	}
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
