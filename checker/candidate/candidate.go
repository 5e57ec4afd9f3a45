// Package candidate makes what is graded: a pristine lesson with a learner's
// files laid over it. Everything that is not the learner's comes from the
// pristine copy, through the go command's -overlay; nothing is copied into
// the learner's folder and nothing is written there.
package candidate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

// maxFile bounds what is read of one file: no mend is larger, and a device or
// a runaway log must not fill memory.
const maxFile = 4 << 20

// Candidate is one lesson with one set of mended files, read once: what the
// policy reads is what the compiler gets, even if the learner saves meanwhile.
type Candidate struct {
	Lesson   *lesson.Lesson
	Files    map[string][]byte // the learner's files, by slash path within the lesson's folder
	Hidden   []string          // files in the folder that take no part, as tests of the learner's own
	Warnings []string          // what the learner should know; changes nothing
	Problems []verdict.Finding // what cannot be graded at all, as a symbolic link
}

// New makes a candidate from files that are in memory, as a known mend is.
func New(l *lesson.Lesson, files map[string][]byte) *Candidate {
	return &Candidate{Lesson: l, Files: files}
}

// Read makes a candidate from the learner's folder below root. An error is
// the machine's; what the learner can mend is in Problems.
func Read(root string, l *lesson.Lesson) (*Candidate, error) {
	c := &Candidate{Lesson: l, Files: map[string][]byte{}}
	dir := filepath.Join(root, filepath.FromSlash(l.Folder()))
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.problem("candidate.missing", "", "the folder %s is gone; `checker reset %02d` puts it back", l.Folder(), l.Number)
		return c, nil
	case err != nil:
		return nil, err
	case !info.IsDir():
		c.problem("policy.symlink", "", "%s is not a plain folder: a link is not graded; put the folder itself there", l.Folder())
		return c, nil
	}
	seen := map[string]bool{}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		name := filepath.ToSlash(rel)
		if d.IsDir() {
			if name != "." && !c.inFolder(name) {
				return fs.SkipDir
			}
			return nil
		}
		seen[name] = true
		return c.add(p, name, d)
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", l.Folder(), err)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Files)) {
		if seen[name] {
			continue
		}
		if !l.Editable(name) {
			c.warn("%s/%s is gone; the lesson's own copy is used", l.Folder(), name)
		} else if slices.Contains(l.Edit, name) {
			c.problem("candidate.missing", name, "%s is gone; `checker reset %02d` puts it back", name, l.Number)
		}
	}
	return c, nil
}

// inFolder reports whether a sub-folder belongs to the lesson: one that the
// learner may rearrange, or one on the way to a pristine file.
func (c *Candidate) inFolder(name string) bool {
	if c.Lesson.Editable(name + "/") {
		return true
	}
	for f := range c.Lesson.Files {
		if strings.HasPrefix(f, name+"/") {
			return true
		}
	}
	return false
}

func (c *Candidate) add(p, name string, d fs.DirEntry) error {
	l := c.Lesson
	pristine, known := l.Files[name]
	switch {
	case l.Editable(name) && !d.Type().IsRegular():
		c.problem("policy.symlink", name, "%s is a %s, not a plain file; put the file itself there", name, kindOf(d.Type()))
		return nil
	case l.Editable(name):
		b, err := read(p)
		if errors.Is(err, errTooLarge) {
			c.problem("policy.size", name, "%s is over %d MiB; no mend is that long", name, maxFile>>20)
			return nil
		}
		c.Files[name] = b
		return err
	case known:
		b, err := read(p)
		if err != nil || !d.Type().IsRegular() || !bytes.Equal(plain(b), plain(pristine)) {
			c.warn("%s/%s was changed; the change is without effect (`checker reset %02d` puts the file back)", l.Folder(), name, l.Number)
		}
	case path.Dir(name) == "." && path.Ext(name) == ".go":
		c.Hidden = append(c.Hidden, name)
		c.warn("%s/%s is not part of the lesson and is not run by the checker", l.Folder(), name)
	case path.Base(name) == "go.mod" || path.Base(name) == "go.work" || path.Ext(name) == ".s" || path.Ext(name) == ".c" || path.Ext(name) == ".syso":
		c.Hidden = append(c.Hidden, name)
		c.warn("%s/%s is without effect: a lesson is one package of the workshop's module", l.Folder(), name)
	}
	return nil
}

var errTooLarge = errors.New("too large")

func read(p string) ([]byte, error) {
	f, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		return nil, errTooLarge
	}
	return b, err
}

// plain takes away what a Windows checkout adds: line ends and a byte order mark.
func plain(b []byte) []byte {
	return bytes.ReplaceAll(bytes.TrimPrefix(b, []byte("\ufeff")), []byte("\r\n"), []byte("\n"))
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeDevice != 0:
		return "device"
	default:
		return "special file"
	}
}

func (c *Candidate) warn(format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
}

func (c *Candidate) problem(code, name, format string, args ...any) {
	f := verdict.Finding{Code: code, Message: fmt.Sprintf(format, args...), Stage: verdict.StagePolicy}
	if name != "" {
		f.File = path.Join(c.Lesson.Folder(), name)
	}
	c.Problems = append(c.Problems, f)
}

// Untouched reports whether the files are still as the lesson shipped them.
func (c *Candidate) Untouched() bool {
	return maps.EqualFunc(c.Files, c.Lesson.Unsolve(), func(a, b []byte) bool {
		return bytes.Equal(plain(a), plain(b))
	})
}

// Sum identifies the content that is graded: the learner's files and the
// pristine lesson under them. Equal sums give equal verdicts.
func (c *Candidate) Sum() string {
	h := sha256.New()
	add := func(kind string, files map[string][]byte) {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			fmt.Fprintf(h, "%s %q %d\n", kind, name, len(files[name]))
			h.Write(files[name])
		}
	}
	add("edit", c.Files)
	add("lesson", c.Lesson.Files)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))[:32]
}

// Overlay writes the files that differ from root's tree below tmp and returns
// the path of the JSON file for the go command's -overlay. Base holds
// everything besides the lesson that the build reads (go.mod, the probe), and
// extra what is added to the lesson's folder (the review tests).
func (c *Candidate) Overlay(root, tmp string, base, extra map[string][]byte) (string, error) {
	replace := map[string]string{}
	n := 0
	put := func(name string, b []byte) error {
		n++
		// A folder each keeps the base name, which the compiler's messages show.
		to := filepath.Join(tmp, fmt.Sprint(n), path.Base(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		replace[filepath.Join(root, filepath.FromSlash(name))] = to
		return os.WriteFile(to, b, 0o600)
	}
	laid := maps.Clone(base)
	if laid == nil {
		laid = map[string][]byte{}
	}
	folder := c.Lesson.Folder()
	for name, b := range c.Lesson.Files {
		if !c.Lesson.Editable(name) {
			laid[path.Join(folder, name)] = b
		} else if _, kept := c.Files[name]; !kept {
			replace[filepath.Join(root, filepath.FromSlash(folder), filepath.FromSlash(name))] = ""
		}
	}
	for name, b := range extra {
		laid[path.Join(folder, name)] = b
	}
	for name, b := range laid {
		on, err := read(filepath.Join(root, filepath.FromSlash(name)))
		if err == nil && bytes.Equal(on, b) && regular(filepath.Join(root, filepath.FromSlash(name))) {
			continue
		}
		if err := put(name, b); err != nil {
			return "", err
		}
	}
	for name, b := range c.Files {
		if err := put(path.Join(folder, name), b); err != nil {
			return "", err
		}
	}
	if err := c.hide(root, replace); err != nil {
		return "", err
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	to := filepath.Join(tmp, "overlay.json")
	return to, os.WriteFile(to, b, 0o600)
}

// hide takes away from the build every file of the real folder that is not
// part of this candidate, as a stray test or the learner's own files while a
// known mend is graded in their place.
func (c *Candidate) hide(root string, replace map[string]string) error {
	dir := filepath.Join(root, filepath.FromSlash(c.Lesson.Folder()))
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		name := filepath.ToSlash(rel)
		_, mine := c.Files[name]
		_, pristine := c.Lesson.Files[name]
		if _, done := replace[p]; !done && !mine && !pristine {
			replace[p] = ""
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a folder that is gone is made whole by the overlay
	}
	return err
}

func regular(p string) bool {
	info, err := os.Lstat(p)
	return err == nil && info.Mode().IsRegular()
}
