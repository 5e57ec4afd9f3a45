package candidate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Overlay writes everything that the build reads of the workshop below tmp
// and returns the path of the JSON file for the go command's -overlay. Base
// holds what is read besides the lesson (go.mod, the probe), and extra what
// is added to the lesson's folder (the review tests).
//
// A file that equals root's is laid over it all the same: the learner may
// save while the compiler reads.
func (c *Candidate) Overlay(root, tmp string, base, extra map[string][]byte) (string, error) {
	replace := map[string]string{}
	at := func(name string) string { return filepath.Join(root, filepath.FromSlash(name)) }
	laid := maps.Clone(base)
	if laid == nil {
		laid = map[string][]byte{}
	}
	for _, one := range c.All() {
		folder := one.Lesson.Folder()
		for name, b := range one.Lesson.Files {
			if !one.Lesson.Editable(name) {
				laid[path.Join(folder, name)] = b
			} else if _, kept := one.Files[name]; !kept {
				replace[at(path.Join(folder, name))] = ""
			}
		}
		for name, b := range one.Files {
			laid[path.Join(folder, name)] = b
		}
	}
	for name, b := range extra {
		laid[path.Join(c.Lesson.Folder(), name)] = b
	}
	for name := range laid {
		// The compiler's messages show this path, so it ends as the real one does.
		to := filepath.Join(tmp, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(to, laid[name], 0o600); err != nil {
			return "", err
		}
		replace[at(name)] = to
	}
	for _, p := range c.strays(root, laid) {
		replace[p] = ""
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	to := filepath.Join(tmp, "overlay.json")
	return to, os.WriteFile(to, b, 0o600)
}

// Strayed reports whether a build with the overlay that Overlay wrote may
// have read a file that is not of this candidate: one that came into the
// folder after it was listed. Such a build must be made again.
func (c *Candidate) Strayed(root, overlay string, base map[string][]byte) (bool, error) {
	b, err := os.ReadFile(overlay)
	if err != nil {
		return false, err
	}
	var o struct{ Replace map[string]string }
	if err := json.Unmarshal(b, &o); err != nil {
		return false, fmt.Errorf("read %s: %w", overlay, err)
	}
	for _, p := range c.strays(root, base) {
		if _, known := o.Replace[p]; !known {
			return true, nil
		}
	}
	return false, nil
}

// strays lists the real files in the way of the build that are not among
// those laid: in the lesson's folder every one that is not pristine, as a
// stray test or the learner's own files while a known mend is graded in their
// place; in the folders of base every source file.
func (c *Candidate) strays(root string, laid map[string][]byte) []string {
	var list []string
	lessons := map[string]bool{}
	for _, one := range c.All() {
		lessons[one.Lesson.Folder()] = true
		list = append(list, one.straysInFolder(root, laid)...)
	}
	folders := map[string]bool{}
	for name := range laid {
		if path.Ext(name) == ".go" && !lessons[path.Dir(name)] {
			folders[path.Dir(name)] = true
		}
	}
	for _, f := range slices.Sorted(maps.Keys(folders)) {
		at := filepath.Join(root, filepath.FromSlash(f))
		entries, _ := os.ReadDir(at)
		for _, e := range entries {
			if _, known := laid[path.Join(f, e.Name())]; !known && !e.IsDir() && !strings.HasSuffix(e.Name(), "_test.go") {
				list = append(list, filepath.Join(at, e.Name()))
			}
		}
	}
	return list
}

func (c *Candidate) straysInFolder(root string, laid map[string][]byte) []string {
	var list []string
	folder := c.Lesson.Folder()
	dir := filepath.Join(root, filepath.FromSlash(folder))
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			// What cannot be listed is not built, and a folder that is gone
			// is made whole by the overlay.
			if errors.Is(err, fs.ErrPermission) && p != dir {
				return fs.SkipDir
			}
			return nil
		}
		rel, _ := filepath.Rel(dir, p)
		name := filepath.ToSlash(rel)
		if d.IsDir() {
			if _, covered := c.Lesson.Files[name]; covered {
				return fs.SkipDir
			}
			return nil
		}
		_, mine := c.Files[name]
		_, pristine := c.Lesson.Files[name]
		if _, done := laid[path.Join(folder, name)]; !done && !mine && !pristine {
			list = append(list, p)
		}
		return nil
	})
	return list
}
