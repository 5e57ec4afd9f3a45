// Package solutions carries into the checker's binary what the authors keep
// about each lesson: the pristine copy, the review tests, the reference mends
// and the known right and wrong ones. Grading never depends on the tree.
package solutions

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed all:*
var embedded embed.FS

// Tree is this folder as the workshop's root shows it: every name begins
// with solutions/.
func Tree() fs.FS { return tree{} }

type tree struct{}

func (tree) Open(name string) (fs.File, error) {
	if name == "solutions" {
		return embedded.Open(".")
	}
	rel, ok := strings.CutPrefix(name, "solutions/")
	if !ok || !fs.ValidPath(rel) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return embedded.Open(rel)
}
