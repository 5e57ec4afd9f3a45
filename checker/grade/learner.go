package grade

import (
	"context"

	"pitstop/checker/candidate"
	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
	"pitstop/checker/workshop"
)

// Learner grades what was read from a learner's folder, review included, and
// keeps the progress. What is interrupted is not kept.
func (e *Engine) Learner(ctx context.Context, w *workshop.Workshop, c *candidate.Candidate, sink Sink) verdict.Verdict {
	l := c.Lesson
	hidden, err := w.Hidden(l)
	if err != nil {
		return Refuse(l, err, sink)
	}
	g := e.Open(c, hidden)
	defer g.Close()
	entry := w.Progress.All()[l.Slug]
	if entry.Visible {
		g.env.Joint, g.env.Beside = true, true
	}
	return g.Run(ctx, func(ev verdict.Event) {
		if ev.Verdict != nil && ctx.Err() == nil {
			if !c.Untouched() {
				entry.Annotate(ev.Verdict)
			}
			if err := w.Progress.Record(l.Slug, c.Sum(), c.Untouched(), *ev.Verdict); err != nil {
				sink(verdict.Event{Type: verdict.Warning, Lesson: l.Slug, Message: err.Error()})
			}
		}
		sink(ev)
	})
}

// Refuse is the verdict on a lesson that cannot be graded, for a reason of the
// machine's.
func Refuse(l *lesson.Lesson, err error, sink Sink) verdict.Verdict {
	v := failed(err)
	v.Evidence = []verdict.Evidence{}
	sink(verdict.Event{Type: verdict.Graded, Lesson: l.Slug, Verdict: &v})
	return v
}
