// Package progress keeps what a learner has reached in one small file,
// .pitstop/progress.json. It is written beside and renamed, under a lock, so
// neither a crash in mid-write nor a second checker can damage it.
package progress

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"pitstop/checker/verdict"
)

// Dir is the folder of the checker's own files, below the workshop's root.
const Dir = ".pitstop"

const format = 1

// Entry is what is known of one lesson.
type Entry struct {
	Sum     string             `json:"sum,omitempty"` // of the content that was graded last
	Outcome verdict.Outcome    `json:"outcome,omitempty"`
	At      time.Time          `json:"at,omitzero"`
	Visible bool               `json:"visible,omitempty"` // the visible tests passed then
	Passed  []string           `json:"passed,omitempty"`  // sums that have passed, newest last
	Hints   int                `json:"hints,omitempty"`   // the highest hint that was shown
	Before  map[string]float64 `json:"before,omitempty"`  // figures of the unsolved lesson on this machine
}

// passedKept bounds the list of passed contents of one lesson.
const passedKept = 8

type file struct {
	Format  int              `json:"format"`
	Lessons map[string]Entry `json:"lessons"`
}

// Store is the progress of one workshop. A store that cannot write keeps what
// it learns in memory, and Problem says why.
type Store struct {
	Problem string // in a sentence, with the next step; empty where all is well
	path    string

	mu  sync.Mutex // guards Problem and mem; the file has a lock of its own
	mem *file
}

// Open reads the progress below root.
func Open(root string) *Store {
	s := &Store{path: filepath.Join(root, Dir, "progress.json")}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
		s.unwritable(err)
		return s
	}
	f, err := os.CreateTemp(filepath.Dir(s.path), ".probe-*")
	if err != nil {
		s.unwritable(err)
		return s
	}
	f.Close()
	os.Remove(f.Name())
	return s
}

func (s *Store) unwritable(err error) {
	s.Problem = fmt.Sprintf("progress is not kept: %v; make %s writable, or clone the workshop into a folder of your own", err, filepath.Dir(s.path))
	s.mem = &file{Format: format, Lessons: map[string]Entry{}}
	if b, err := os.ReadFile(s.path); err == nil {
		_ = json.Unmarshal(b, s.mem) // what can be read is better than nothing
	}
}

// All returns what is known of every lesson.
func (s *Store) All() map[string]Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mem != nil {
		return maps.Clone(s.mem.Lessons)
	}
	f, _ := s.read()
	return f.Lessons
}

// Update changes one lesson's entry, under the lock.
func (s *Store) Update(slug string, change func(*Entry)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mem != nil {
		e := s.mem.Lessons[slug]
		change(&e)
		s.mem.Lessons[slug] = e
		return nil
	}
	lock := flock.New(s.path + ".lock")
	if err := lock.Lock(); err != nil {
		return fmt.Errorf("lock progress: %w", err)
	}
	defer lock.Unlock()
	f, damaged := s.read()
	if damaged != nil {
		aside := fmt.Sprintf("%s.damaged-%s", s.path, time.Now().Format("20060102-150405"))
		if err := os.Rename(s.path, aside); err != nil {
			return fmt.Errorf("set damaged progress aside: %w", err)
		}
		s.Problem = fmt.Sprintf("%s was damaged (%v); it is kept as %s, and progress starts anew", s.path, damaged, filepath.Base(aside))
	}
	e := f.Lessons[slug]
	change(&e)
	f.Lessons[slug] = e
	b, err := json.MarshalIndent(f, "", "\t")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(s.path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("progress is not kept: %w%s", err, Advice(err))
	}
	return nil
}

// read returns the file's content, empty where there is none, and an error
// where there is one that cannot be read.
func (s *Store) read() (*file, error) {
	empty := &file{Format: format, Lessons: map[string]Entry{}}
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return empty, err
	}
	f := &file{}
	if err := json.Unmarshal(b, f); err != nil {
		return empty, err
	}
	if f.Format != format {
		return empty, fmt.Errorf("format %d, this checker writes %d", f.Format, format)
	}
	if f.Lessons == nil {
		f.Lessons = map[string]Entry{}
	}
	return f, nil
}

// Record keeps a verdict. The figures of an untouched lesson become the
// "before" of later verdicts.
func (s *Store) Record(slug, sum string, untouched bool, v verdict.Verdict) error {
	if v.Outcome == verdict.Error {
		return nil // says nothing about the learner
	}
	return s.Update(slug, func(e *Entry) {
		e.Sum, e.Outcome, e.At = sum, v.Outcome, time.Now().UTC().Truncate(time.Second)
		e.Visible = v.Outcome != verdict.Fail || slices.ContainsFunc(v.Findings, func(f verdict.Finding) bool { return f.Stage == verdict.StageReview })
		if v.Outcome == verdict.Pass && !e.HasPassed(sum) {
			e.Passed = append(e.Passed, sum)
			e.Passed = e.Passed[max(0, len(e.Passed)-passedKept):]
		}
		if untouched && len(v.Evidence) > 0 {
			e.Before = map[string]float64{}
			for _, ev := range v.Evidence {
				e.Before[ev.Name] = ev.Now
			}
		}
	})
}

// HasPassed reports whether this content has passed.
func (e Entry) HasPassed(sum string) bool {
	for _, p := range e.Passed {
		if p == sum {
			return true
		}
	}
	return false
}

// Annotate fills in what the evidence was before the learner began.
func (e Entry) Annotate(v *verdict.Verdict) {
	for i, ev := range v.Evidence {
		if before, ok := e.Before[ev.Name]; ok {
			v.Evidence[i].Before = &before
		}
	}
}

// Advice is the next step after a file could not be written, as the end of a
// sentence; empty where there is nothing to say.
func Advice(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "; free some space on that disk and run this again"
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return "; make that folder writable, or clone the workshop into one of your own"
	default:
		return ""
	}
}
