package author

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	"github.com/google/renameio/v2"
)

// scaffold is a whole small lesson, a tally that hands out its own map, for an
// author to reshape.
//
//go:embed all:scaffold
var scaffold embed.FS

// ErrSlug is a name that no lesson can have.
var ErrSlug = errors.New("not a lesson's name")

var (
	wordsForm = regexp.MustCompile(`^(?:([0-9]{2})_)?([a-z][a-z0-9]*(?:_[a-z0-9]+)*)$`)
	numbered  = regexp.MustCompile(`^([0-9]{2})_`)
)

// New writes the folders of a lesson into the tree at root and returns its
// slug and the files. A slug without a number gets the first that is free.
func New(root, name string) (slug string, written []string, err error) {
	m := wordsForm.FindStringSubmatch(name)
	if m == nil {
		return "", nil, fmt.Errorf("%w: %q; write it in lower case with underscores, as `bin/checker new connection_pool` or 31_connection_pool", ErrSlug, name)
	}
	taken, err := numbers(root)
	if err != nil {
		return "", nil, err
	}
	number := m[1]
	for n := 1; number == "" && n < 100; n++ {
		if s := fmt.Sprintf("%02d", n); taken[s] == "" {
			number = s
		}
	}
	if number == "" {
		return "", nil, errors.New("every number from 01 to 99 is taken")
	}
	if other := taken[number]; other != "" {
		return "", nil, fmt.Errorf("%w: number %s is taken by %s", ErrSlug, number, other)
	}
	slug = number + "_" + m[2]
	defer func() {
		if err != nil { // half a lesson would stand in the way of every build
			_ = os.RemoveAll(filepath.Join(root, "lessons", slug))
			_ = os.RemoveAll(filepath.Join(root, "solutions", slug))
		}
	}()
	data := map[string]string{"Slug": slug, "Number": number, "Package": strings.ReplaceAll(m[2], "_", "")}
	err = fs.WalkDir(scaffold, "scaffold", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		top, rest, _ := strings.Cut(strings.TrimPrefix(p, "scaffold/"), "/")
		b, err := scaffold.ReadFile(p)
		if err != nil {
			return err
		}
		t, err := template.New(p).Delims("«", "»").Parse(string(b))
		if err != nil {
			return err
		}
		to := path.Join(top, slug, strings.TrimSuffix(rest, ".tmpl"))
		var text strings.Builder
		if err := t.Execute(&text, data); err != nil {
			return err
		}
		file := filepath.Join(root, filepath.FromSlash(to))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		written = append(written, to)
		return renameio.WriteFile(file, []byte(text.String()), 0o644)
	})
	return slug, written, err
}

// numbers says which lesson has which number.
func numbers(root string) (map[string]string, error) {
	taken := map[string]string{}
	for _, dir := range []string{"lessons", "solutions"} {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if m := numbered.FindStringSubmatch(e.Name()); m != nil && e.IsDir() {
				taken[m[1]] = e.Name()
			}
		}
	}
	return taken, nil
}
