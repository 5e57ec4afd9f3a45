package watch

import (
	"context"
	"fmt"

	"pitstop/checker/grade"
	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
	"pitstop/checker/workshop"
)

// Folders is the learner's own folders as a [Source]. It locks the workshop
// while it grades, not in between, keeps the progress, and says once what
// keeps progress from being kept.
type Folders struct {
	Workshop *workshop.Workshop
	Engine   *grade.Engine

	problem string // the last that was said; gradings do not overlap
}

// Read implements [Source]. A change of what the learner is warned of counts
// as a change, though it cannot alter the outcome.
func (f *Folders) Read(l *lesson.Lesson) Snapshot {
	c, err := f.Workshop.Candidate(l)
	if err != nil {
		return Snapshot{Key: "error: " + err.Error(), Grade: func(_ context.Context, sink func(verdict.Event)) {
			grade.Refuse(l, err, sink)
		}}
	}
	return Snapshot{
		Key: fmt.Sprintf("%s %q %+v", c.Sum(), c.Warnings, c.Problems),
		Grade: func(ctx context.Context, sink func(verdict.Event)) {
			f.tellProblem(l, sink)
			unlock, err := f.Workshop.Lock(ctx, func(who string) {
				sink(verdict.Event{Type: verdict.Warning, Lesson: l.Slug, Message: who + " is grading here; waiting for it to finish"})
			})
			if err != nil {
				grade.Refuse(l, err, sink)
				return
			}
			defer unlock()
			defer func() {
				if p := recover(); p != nil {
					grade.Refuse(l, fmt.Errorf("the checker itself broke (%v); please report it with what you saved", p), sink)
				}
			}()
			f.Engine.Learner(ctx, f.Workshop, c, func(ev verdict.Event) {
				if ev.Verdict != nil {
					f.tellProblem(l, sink)
				}
				sink(ev)
			})
		},
	}
}

func (f *Folders) tellProblem(l *lesson.Lesson, sink func(verdict.Event)) {
	if p := f.Workshop.Progress.Problem; p != f.problem {
		f.problem = p
		sink(verdict.Event{Type: verdict.Warning, Lesson: l.Slug, Message: p})
	}
}
