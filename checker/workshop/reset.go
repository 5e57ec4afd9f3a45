package workshop

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"pitstop/checker/lesson"
	"pitstop/checker/progress"
)

// Reset puts a lesson's folder back as it was shipped. What was there is
// copied first, whole, to the folder that it returns; the name is empty where
// nothing had to be changed.
func (w *Workshop) Reset(l *lesson.Lesson) (backup string, err error) {
	dir := filepath.Join(w.Root, filepath.FromSlash(l.Folder()))
	extra, changed, err := w.compare(l, dir)
	if err != nil || !changed {
		return "", err
	}
	if _, err := os.Lstat(dir); err == nil {
		if backup, err = w.backup(l, dir); err != nil {
			return "", fmt.Errorf("back up %s, nothing was changed: %w", l.Folder(), err)
		}
	}
	if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
		if err := os.Remove(dir); err != nil {
			return backup, err
		}
	}
	for name, b := range l.Files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return backup, err
		}
		if err := renameio.WriteFile(p, b, 0o644); err != nil {
			return backup, fmt.Errorf("reset %s: %w", name, err)
		}
	}
	for _, name := range extra {
		if err := os.Remove(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return backup, err
		}
	}
	return backup, nil
}

// compare reports whether the folder differs from the lesson, and which files
// of the learner's have no place in it. A file that the grader ignores is left.
func (w *Workshop) compare(l *lesson.Lesson, dir string) (extra []string, changed bool, err error) {
	same := 0
	if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
		return nil, true, nil
	}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		name := filepath.ToSlash(rel)
		pristine, known := l.Files[name]
		switch {
		case known && d.Type().IsRegular():
			b, err := os.ReadFile(p)
			if err == nil && bytes.Equal(b, pristine) {
				same++
			}
		case !known && l.Editable(name):
			extra = append(extra, name)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	return extra, same < len(l.Files) || len(extra) > 0, err
}

// backup copies a lesson's folder beside and renames the copy when it is whole.
func (w *Workshop) backup(l *lesson.Lesson, dir string) (string, error) {
	base := filepath.Join(w.Root, progress.Dir, "backup")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(base, ".copy-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	to := filepath.Join(tmp, l.Slug)
	if err := copyTree(dir, to); err != nil {
		return "", err
	}
	name := filepath.Join(base, l.Slug+"-"+time.Now().Format("20060102-150405.000"))
	return name, os.Rename(to, name)
}

func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, p)
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case d.Type().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			return os.WriteFile(target, b, 0o644)
		default:
			return nil // a pipe or a device holds nothing to keep
		}
	})
}
