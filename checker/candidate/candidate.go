// Package candidate makes what is graded: a pristine lesson with a learner's
// files laid over it. Everything that is not the learner's comes from the
// pristine copy, through the go command's -overlay; nothing is copied into
// the learner's folder and nothing is written there.
package candidate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

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

	// Parts are the other lessons that this one is built from, each with the
	// learner's files. Their tests take no part.
	Parts []*Candidate
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
		c.problem("candidate.missing", "", "the folder %s is gone; `bin/checker reset %02d` puts it back", l.Folder(), l.Number)
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
				seen[name] = c.folder(name)
				return fs.SkipDir
			}
			return nil
		}
		seen[name] = true
		c.add(p, name, d)
		return nil
	})
	if errors.Is(err, fs.ErrPermission) {
		c.problem("candidate.unreadable", "", "%s cannot be read: %v; give yourself the right to (chmod -R u+rX %s)", l.Folder(), err, l.Folder())
		return c, nil
	}
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
			c.problem("candidate.missing", name, "%s is gone; `bin/checker reset %02d` puts it back", name, l.Number)
		}
	}
	return c, nil
}

// Join adds a lesson that c is built from. What is wrong with it is wrong with
// c too; what its learner is warned of is said when it is graded itself.
func (c *Candidate) Join(part *Candidate) {
	c.Parts = append(c.Parts, part)
	c.Problems = append(c.Problems, part.Problems...)
}

// All is the candidate and its parts.
func (c *Candidate) All() []*Candidate { return append([]*Candidate{c}, c.Parts...) }

// Untouched reports whether the files are still as the lesson shipped them,
// and those of the parts as theirs did.
func (c *Candidate) Untouched() bool {
	for _, p := range c.Parts {
		if !p.Untouched() {
			return false
		}
	}
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
	for _, p := range c.Parts {
		fmt.Fprintf(h, "part %s %s\n", p.Lesson.Slug, p.Sum())
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))[:32]
}

// EditsData reports whether the learner's files hold any that is not Go, as
// manifests are.
func (c *Candidate) EditsData() bool {
	for name := range c.Files {
		if path.Ext(name) != ".go" {
			return true
		}
	}
	return false
}

// Data returns the lesson's files that are not Go, the learner's in the place
// of the shipped ones: what tests read at run time. The texts about the lesson
// are not among them.
func (c *Candidate) Data() map[string][]byte {
	data := map[string][]byte{}
	for name, b := range c.Lesson.Files {
		if path.Ext(name) != ".go" && name != lesson.Meta && name != "README.md" && !c.Lesson.Editable(name) {
			data[name] = b
		}
	}
	for name, b := range c.Files {
		if path.Ext(name) != ".go" {
			data[name] = b
		}
	}
	return data
}
