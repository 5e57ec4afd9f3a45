// Package solutions carries into the checker's binary what the authors keep
// about each lesson: the pristine copy, the review tests, the reference mends
// and the known right and wrong ones. Grading never depends on the tree.
package solutions

import "embed"

// FS is rooted in this folder.
//
//go:embed all:*
var FS embed.FS
