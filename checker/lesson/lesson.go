// Package lesson loads lessons and their solutions from a file system and
// holds them to their form. It knows nothing of grading.
package lesson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Format is the version of lesson.yaml that this checker reads.
const Format = 1

// Meta is the name of the metadata file in a lesson's folder.
const Meta = "lesson.yaml"

// SharedTypes is the folder beside the lessons whose types they have in
// common. It is no lesson: nobody edits it.
const SharedTypes = "dispatch"

// Lesson is one numbered exercise as its authors wrote it.
type Lesson struct {
	Format   int      `yaml:"format"`
	Title    string   `yaml:"title"`
	Module   string   `yaml:"module"`
	Minutes  int      `yaml:"minutes"`
	Edit     []string `yaml:"edit"`     // files, or folders with a trailing slash, that a learner may change
	Imports  []string `yaml:"imports"`  // what a mend may import besides the standard library
	Uses     []int    `yaml:"uses"`     // lessons whose packages this one is built from, as the learner has them
	Checks   []Check  `yaml:"checks"`   // run in this order
	Unsolved []string `yaml:"unsolved"` // the finding codes of the untouched lesson
	Hints    []string `yaml:"hints"`    // where to look, what is wrong, how to mend it

	Number int               `yaml:"-"`
	Slug   string            `yaml:"-"` // folder name, as 01_bounded_workers
	Files  map[string][]byte `yaml:"-"` // every file of the pristine folder, by slash path within it
}

// Check is one instance of a kind of check. With is decoded by the kind.
type Check struct {
	Kind     string    `yaml:"kind"`
	Profiles []string  `yaml:"profiles"`
	With     yaml.Node `yaml:"with"`
}

var slugForm = regexp.MustCompile(`^([0-9]{2})_[a-z0-9]+(_[a-z0-9]+)*$`)

// Load reads every lesson below lessons/ in fsys, in order of number.
func Load(fsys fs.FS) ([]*Lesson, error) {
	entries, err := fs.ReadDir(fsys, "lessons")
	if err != nil {
		return nil, fmt.Errorf("lessons: %w", err)
	}
	var all []*Lesson
	seen := map[int]string{}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == SharedTypes {
			continue
		}
		l, err := load(fsys, e.Name())
		if err != nil {
			return nil, err
		}
		if other, ok := seen[l.Number]; ok {
			return nil, fmt.Errorf("lesson %s: number %d is taken by %s", l.Slug, l.Number, other)
		}
		seen[l.Number] = l.Slug
		all = append(all, l)
	}
	for _, l := range all {
		if _, err := l.Parts(all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Parts picks from all lessons those that l is built from.
func (l *Lesson) Parts(all []*Lesson) ([]*Lesson, error) {
	var parts []*Lesson
	for _, n := range l.Uses {
		i := slices.IndexFunc(all, func(x *Lesson) bool { return x.Number == n && x != l })
		if i < 0 {
			return nil, fmt.Errorf("lessons/%s/%s: uses: there is no other lesson %d", l.Slug, Meta, n)
		}
		parts = append(parts, all[i])
	}
	return parts, nil
}

func load(fsys fs.FS, slug string) (*Lesson, error) {
	m := slugForm.FindStringSubmatch(slug)
	if m == nil {
		return nil, fmt.Errorf("lessons/%s: a lesson's folder is two digits and words in lower case, as 07_slice_retention", slug)
	}
	files, err := ReadTree(fsys, path.Join("lessons", slug))
	if err != nil {
		return nil, err
	}
	meta, ok := files[Meta]
	if !ok {
		return nil, fmt.Errorf("lessons/%s: no %s", slug, Meta)
	}
	l := &Lesson{Slug: slug, Files: files}
	l.Number, _ = strconv.Atoi(m[1])
	dec := yaml.NewDecoder(bytes.NewReader(meta))
	dec.KnownFields(true)
	if err := dec.Decode(l); err != nil {
		return nil, fmt.Errorf("lessons/%s/%s: %w", slug, Meta, err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("lessons/%s/%s: more than one document", slug, Meta)
	}
	if err := l.validate(); err != nil {
		return nil, fmt.Errorf("lessons/%s/%s: %w", slug, Meta, err)
	}
	return l, nil
}

func (l *Lesson) validate() error {
	switch {
	case l.Format != Format:
		return fmt.Errorf("format %d: this checker reads format %d", l.Format, Format)
	case l.Title == "":
		return errors.New("title: missing")
	case l.Module == "":
		return errors.New("module: missing")
	case l.Minutes <= 0:
		return errors.New("minutes: state how long it takes, as 25")
	case len(l.Edit) == 0:
		return errors.New("edit: name the files that a learner may change")
	case len(l.Checks) == 0:
		return errors.New("checks: none; the least is `- kind: test`")
	case len(l.Hints) != 3:
		return fmt.Errorf("hints: %d, want three: where to look, what is wrong, how to mend it", len(l.Hints))
	}
	for _, e := range l.Edit {
		switch {
		case !fs.ValidPath(strings.TrimSuffix(e, "/")):
			return fmt.Errorf("edit: %q is not a path within the lesson's folder", e)
		case e == Meta:
			return fmt.Errorf("edit: %s is not the learner's to change", e)
		case len(l.editable(l.Files, e)) == 0:
			return fmt.Errorf("edit: no such file %s in the folder", e)
		}
	}
	return nil
}

// Folder is the lesson's folder within the workshop.
func (l *Lesson) Folder() string { return path.Join("lessons", l.Slug) }

// Editable reports whether a file of the lesson's folder is the learner's to
// change: named in edit, below a folder named there, or a new Go file beside
// the others that is not a test.
func (l *Lesson) Editable(name string) bool {
	for _, e := range l.Edit {
		if name == e || strings.HasSuffix(e, "/") && strings.HasPrefix(name, e) {
			return true
		}
	}
	if _, pristine := l.Files[name]; pristine {
		return false
	}
	return path.Dir(name) == "." && path.Ext(name) == ".go" && !strings.HasSuffix(name, "_test.go")
}

func (l *Lesson) editable(files map[string][]byte, edit string) []string {
	var names []string
	for name := range files {
		if name == edit || strings.HasSuffix(edit, "/") && strings.HasPrefix(name, edit) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Unsolve returns the editable files as the lesson shipped them.
func (l *Lesson) Unsolve() map[string][]byte {
	files := map[string][]byte{}
	for _, e := range l.Edit {
		for _, name := range l.editable(l.Files, e) {
			files[name] = l.Files[name]
		}
	}
	return files
}

// Find resolves what a person types: a number (3, 03), a slug, or a folder.
func Find(all []*Lesson, arg string) (*Lesson, error) {
	name := path.Base(strings.TrimRight(strings.ReplaceAll(arg, `\`, "/"), "/"))
	if n, err := strconv.Atoi(name); err == nil {
		for _, l := range all {
			if l.Number == n {
				return l, nil
			}
		}
		return nil, fmt.Errorf("no lesson %s; `bin/checker list` shows them", arg)
	}
	var near []string
	for _, l := range all {
		if l.Slug == name || strings.EqualFold(l.Slug[3:], name) {
			return l, nil
		}
		if strings.Contains(l.Slug, strings.ToLower(name)) {
			near = append(near, l.Slug)
		}
	}
	if len(near) > 0 {
		return nil, fmt.Errorf("no lesson %q; did you mean %s?", arg, strings.Join(near, " or "))
	}
	return nil, fmt.Errorf("no lesson %q; `bin/checker list` shows them", arg)
}

// ReadTree reads every regular file below dir, by slash path within it.
func ReadTree(fsys fs.FS, dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := fs.WalkDir(fsys, dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s: not a regular file", p)
		}
		b, err := fs.ReadFile(fsys, p)
		files[strings.TrimPrefix(p, dir+"/")] = b
		return err
	})
	return files, err
}

// DecodeStrict decodes what a check says under with; an unknown key is an error.
func DecodeStrict(n *yaml.Node, into any) error {
	b, err := yaml.Marshal(n)
	if err != nil {
		return err
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	return dec.Decode(into)
}
