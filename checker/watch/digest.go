package watch

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// readMost bounds what is read of one file; size and time stand for the rest.
const readMost = 1 << 20

// digest stands for the state of a folder's files. It reads their content:
// some file systems keep times to two seconds, and a mend may keep the size.
func digest(dir string) string {
	h := sha256.New()
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || dropping(d.Name()) {
			return nil
		}
		fmt.Fprintf(h, "%q %v\n", p, d.Type())
		if !d.Type().IsRegular() {
			return nil
		}
		f, err := os.Open(p)
		if err != nil {
			return nil
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.Size() > readMost {
			fmt.Fprintf(h, "%d %d\n", info.Size(), info.ModTime().UnixNano())
		}
		_, _ = io.Copy(h, io.LimitReader(f, readMost))
		return nil
	})
	return string(h.Sum(nil))
}

// dropping reports whether a file is one that an editor leaves beside the
// real one: vim's 4913 and swap files, emacs' locks, JetBrains' safe writes,
// anybody's backups. None is graded.
func dropping(name string) bool {
	switch {
	case name == "4913", strings.HasSuffix(name, "~"),
		strings.HasPrefix(name, ".#"), strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#"),
		strings.HasPrefix(name, ".goutputstream-"),
		strings.HasSuffix(name, "___jb_tmp___"), strings.HasSuffix(name, "___jb_old___"):
		return true
	}
	ext := filepath.Ext(name)
	return strings.HasPrefix(name, ".") && len(ext) == 4 && strings.HasPrefix(ext, ".sw")
}
