package check

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
)

// Shared keeps test binaries that candidates have in common. Where a learner
// edits manifests and no Go, every candidate of the lesson is run by the same
// binary, and linking it is nearly all of a verdict's time.
type Shared struct {
	Dir string

	mu    sync.Mutex
	built map[string]*sync.Mutex // by content; held while it is being built
}

// binary returns the binary of the candidate's Go files, and builds it where
// there is none yet.
func (s *Shared) binary(ctx context.Context, e *Env, race bool) (string, error) {
	sum := e.goSum(race)
	s.mu.Lock()
	if s.built == nil {
		s.built = map[string]*sync.Mutex{}
	}
	one := s.built[sum]
	if one == nil {
		one = &sync.Mutex{}
		s.built[sum] = one
	}
	s.mu.Unlock()
	one.Lock()
	defer one.Unlock()
	out := filepath.Join(s.Dir, sum, profile(race)+".test")
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o700); err != nil {
		return "", err
	}
	// Beside and renamed: a build that was interrupted leaves nothing to run.
	made, err := e.build(ctx, All, race, out+".new")
	if err != nil {
		return "", err
	}
	return out, os.Rename(made, out)
}

// goSum identifies everything that goes into a test binary.
func (e *Env) goSum(race bool) string {
	files := maps.Clone(e.Base)
	if files == nil {
		files = map[string][]byte{}
	}
	embeds := false
	each := func(name string, b []byte) {
		files[path.Join(e.Candidate.Lesson.Folder(), name)] = b
		embeds = embeds || path.Ext(name) == ".go" && bytes.Contains(b, []byte("//go:embed"))
	}
	for name, b := range e.Candidate.Lesson.Files {
		if !e.Candidate.Lesson.Editable(name) {
			each(name, b)
		}
	}
	for name, b := range e.Candidate.Files {
		each(name, b)
	}
	if e.Review != nil {
		each(ReviewName, e.Review)
	}
	h := sha256.New()
	fmt.Fprintf(h, "race %v\n", race)
	for _, p := range e.Candidate.Parts {
		fmt.Fprintf(h, "part %s\n", p.Sum())
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if ext := path.Ext(name); embeds || ext == ".go" || ext == ".mod" || ext == ".sum" {
			fmt.Fprintf(h, "%q %d\n", name, len(files[name]))
			h.Write(files[name])
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}
