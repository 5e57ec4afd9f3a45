package lesson

import (
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/tools/txtar"
)

// PristineFile is where the pristine copy lives in the tree.
const PristineFile = "solutions/pristine.txtar"

// Pristine is everything a grading build reads, as the authors wrote it:
// to lessons what go.sum is to modules.
type Pristine struct {
	Lessons []*Lesson
	Base    map[string][]byte // go.mod, go.sum, the shared types and the instruments, by slash path within the workshop
}

// ParsePristine reads the pristine copy.
func ParsePristine(archive []byte) (*Pristine, error) {
	ar := txtar.Parse(archive)
	fsys, err := txtar.FS(ar)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", PristineFile, err)
	}
	p := &Pristine{Base: map[string][]byte{}}
	if p.Lessons, err = Load(fsys); err != nil {
		return nil, fmt.Errorf("%s: %w", PristineFile, err)
	}
	for _, f := range ar.Files {
		if !strings.HasPrefix(f.Name, "lessons/") || strings.HasPrefix(f.Name, "lessons/"+SharedTypes+"/") {
			p.Base[f.Name] = f.Data
		}
	}
	return p, nil
}

// Pristines lists what belongs into the pristine copy of the tree at fsys:
// the files that fix the build, the packages that lesson tests import, and
// the lessons.
func Pristines(fsys fs.FS) ([]txtar.File, error) {
	var files []txtar.File
	for _, root := range []string{"go.mod", "go.sum", "checker/probe", "lessons"} {
		err := fs.WalkDir(fsys, root, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if strings.HasPrefix(p, "checker/") && (strings.HasSuffix(p, "_test.go") || strings.Contains(p, "/testdata/")) {
				return nil
			}
			b, err := fs.ReadFile(fsys, p)
			files = append(files, txtar.File{Name: p, Data: b})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}
