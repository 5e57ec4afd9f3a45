package watch

import (
	"errors"

	"pitstop/checker/lesson"
)

// Guide answers what a learner asks for while a lesson is watched. Its
// functions may be called from any goroutine.
type Guide struct {
	Lessons []*lesson.Lesson
	// State is pass, fail, error, skip, changed (since it was graded) or new.
	State func(*lesson.Lesson) string
	// Hint gives the hint of a level, 1 to 3, or with 0 the next that has not
	// been shown. The text comes even where err says it was not remembered.
	Hint func(l *lesson.Lesson, level int) (text string, n int, err error)
	// Diff gives the learner's files beside the reference, ErrNotYet until the
	// lesson passes.
	Diff func(*lesson.Lesson) (string, error)
}

// ErrNotYet keeps the reference from being seen by a slip of the finger.
var ErrNotYet = errors.New("the diff opens once this lesson passes; until then h gives a hint")

// Next returns the first lesson after l that has not passed, going round, and
// nil when all the others have.
func (g *Guide) Next(l *lesson.Lesson) *lesson.Lesson {
	at := g.index(l)
	for i := 1; i < len(g.Lessons); i++ {
		if next := g.Lessons[(at+i)%len(g.Lessons)]; g.State(next) != "pass" {
			return next
		}
	}
	return nil
}

// Previous returns the lesson before l, and nil at the first.
func (g *Guide) Previous(l *lesson.Lesson) *lesson.Lesson {
	if at := g.index(l); at > 0 {
		return g.Lessons[at-1]
	}
	return nil
}

// Find returns the lesson with a slug, nil where there is none.
func (g *Guide) Find(slug string) *lesson.Lesson {
	for _, l := range g.Lessons {
		if l.Slug == slug {
			return l
		}
	}
	return nil
}

// Passed counts the lessons that pass as they are now.
func (g *Guide) Passed() int {
	n := 0
	for _, l := range g.Lessons {
		if g.State(l) == "pass" {
			n++
		}
	}
	return n
}

func (g *Guide) index(l *lesson.Lesson) int {
	for i, x := range g.Lessons {
		if x.Slug == l.Slug {
			return i
		}
	}
	return 0
}
