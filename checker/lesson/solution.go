package lesson

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/tools/txtar"
)

// ReviewTest is the file of a solution that holds the review tests.
const ReviewTest = "review_test.go"

// Solution is what the authors keep about one lesson besides the lesson:
// the reference mend, its explanation, the review tests, and every mend that
// the grader is known to judge rightly.
type Solution struct {
	Explanation []byte
	Hidden
	Reference map[string][]byte // the editable files, mended
	Accepted  []Variant
	Rejected  []Variant
}

// Hidden is what grades a candidate and is not in the lesson's folder.
type Hidden struct {
	Review  []byte            // the review tests; nil where there are none
	Mutants map[string][]byte // what a test of the learner's is tried on, by name within MutantsFolder
}

// MutantsFolder is the folder of a solution that holds the implementations
// which a test of the learner's is tried on.
const MutantsFolder = "testdata/mutants"

// Variant is one known mend: the whole set of files that it puts in the
// learner's place.
type Variant struct {
	Name    string
	Files   map[string][]byte
	Finding string // the code that must catch it; empty for an accepted one
}

// LoadSolution reads solutions/<slug> from fsys.
func LoadSolution(fsys fs.FS, l *Lesson) (*Solution, error) {
	dir := path.Join("solutions", l.Slug)
	files, err := ReadTree(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("solution of %s: %w", l.Slug, err)
	}
	s := &Solution{Explanation: files["README.md"], Hidden: hidden(files), Reference: map[string][]byte{}}
	for name, b := range files {
		if l.Editable(name) && !strings.HasPrefix(name, "testdata/") {
			s.Reference[name] = b
		}
	}
	if len(s.Reference) == 0 {
		return nil, fmt.Errorf("%s: no reference mend: none of %s is there", dir, strings.Join(l.Edit, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		kind, base, ok := variantPath(name)
		if !ok {
			continue
		}
		v, err := l.variant(s, base, files[name])
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", dir, name, err)
		}
		if kind == "accepted" {
			s.Accepted = append(s.Accepted, v)
			continue
		}
		if v.Finding == "" {
			return nil, fmt.Errorf("%s/%s: line 1 must name the finding that catches it, as `// finding: pool.unbounded`", dir, name)
		}
		s.Rejected = append(s.Rejected, v)
	}
	return s, nil
}

// LoadHidden reads what grades a lesson's candidates, and no more of the
// solution than that.
func LoadHidden(fsys fs.FS, l *Lesson) (Hidden, error) {
	files, err := ReadTree(fsys, path.Join("solutions", l.Slug))
	if errors.Is(err, fs.ErrNotExist) {
		return Hidden{}, nil
	}
	return hidden(files), err
}

func hidden(files map[string][]byte) Hidden {
	h := Hidden{Review: files[ReviewTest], Mutants: map[string][]byte{}}
	for name, b := range files {
		if path.Dir(name) == MutantsFolder {
			h.Mutants[path.Base(name)] = b
		}
	}
	return h
}

func variantPath(name string) (kind, base string, ok bool) {
	rest, ok := strings.CutPrefix(name, "testdata/")
	if !ok {
		return "", "", false
	}
	kind, base, ok = strings.Cut(rest, "/")
	return kind, base, ok && !strings.Contains(base, "/") && (kind == "accepted" || kind == "rejected")
}

var findingLine = regexp.MustCompile(`^(?://|#)?\s*finding:\s*(\S+)\s*$`)

// variant reads one file: a .txtar lays its files over the reference, any
// other takes the place of the first file in edit. An empty file in an
// archive takes that file away.
func (l *Lesson) variant(s *Solution, base string, b []byte) (Variant, error) {
	ext := path.Ext(base)
	v := Variant{Name: strings.TrimSuffix(base, ext), Files: maps.Clone(s.Reference)}
	first, _, _ := bytes.Cut(b, []byte("\n"))
	if m := findingLine.FindSubmatch(bytes.TrimSpace(first)); m != nil {
		v.Finding = string(m[1])
	}
	if ext != ".txtar" {
		if path.Ext(l.Edit[0]) != ext {
			return v, fmt.Errorf("takes the place of %s, so it must end in %s", l.Edit[0], path.Ext(l.Edit[0]))
		}
		v.Files[l.Edit[0]] = b
		return v, nil
	}
	ar := txtar.Parse(b)
	if len(ar.Files) == 0 {
		return v, errors.New("no file in the archive")
	}
	for _, f := range ar.Files {
		if !l.Editable(f.Name) {
			return v, fmt.Errorf("%s is not the learner's to change", f.Name)
		}
		v.Files[f.Name] = f.Data
		if len(bytes.TrimSpace(f.Data)) == 0 {
			delete(v.Files, f.Name)
		}
	}
	return v, nil
}
