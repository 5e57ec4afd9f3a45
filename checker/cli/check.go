package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"pitstop/checker/grade"
	"pitstop/checker/lesson"
	"pitstop/checker/render"
	"pitstop/checker/verdict"
	"pitstop/checker/workshop"
)

type checkFlags struct {
	json  bool
	junit string
	jobs  int
}

func (a *app) checkCmd() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check [LESSON…]",
		Short: "Grade lessons; all of them where none is named",
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.jobs < 1 {
				return usage("--jobs %d: at least 1", f.jobs)
			}
			return a.check(cmd.Context(), args, f)
		},
	}
	cmd.Flags().BoolVar(&f.json, "json", false, "print events, one JSON object a line")
	cmd.Flags().StringVar(&f.junit, "junit", "", "write a JUnit XML report to `FILE`")
	cmd.Flags().IntVar(&f.jobs, "jobs", min(4, runtime.NumCPU()), "grade up to `N` lessons at once")
	return cmd
}

func (a *app) check(ctx context.Context, args []string, f checkFlags) error {
	w, err := a.open(false)
	if err != nil {
		return err
	}
	lessons, err := pick(w, args)
	if err != nil {
		return err
	}
	if w.Progress.Problem != "" {
		a.warn("%s", w.Progress.Problem)
	}
	e, done, err := a.engine(ctx, w)
	if err != nil {
		return err
	}
	defer done()
	unlock, err := a.lock(ctx, w)
	if err != nil {
		return err
	}
	defer unlock()

	p := &printer{app: a, json: f.json, all: len(lessons), line: newLine(a.err, a.terminal && !f.json)}
	verdicts := gradeAll(ctx, w, e, lessons, f.jobs, p.event)
	p.line.clear()
	if ctx.Err() != nil {
		return exit{statusError, errors.New("grading was interrupted; nothing of yours was changed")}
	}
	if !f.json && len(lessons) > 1 {
		render.Summary(a.out, lessons, verdicts)
	}
	if f.junit != "" {
		if err := writeJUnit(f.junit, lessons, verdicts); err != nil {
			return exit{statusError, fmt.Errorf("junit report: %w", err)}
		}
	}
	return status(verdicts)
}

// status is the exit status of a set of verdicts. A lesson that could not be
// graded outweighs one that fails: somebody must look at the machine.
func status(verdicts map[string]verdict.Verdict) error {
	worst := statusPass
	for _, v := range verdicts {
		switch v.Outcome {
		case verdict.Error:
			return exit{status: statusError}
		case verdict.Fail:
			worst = statusFail
		}
	}
	if worst == statusPass {
		return nil
	}
	return exit{status: worst}
}

// gradeAll grades lessons, jobs at a time, and keeps the progress. The sink
// is called from one goroutine at a time.
func gradeAll(ctx context.Context, w *workshop.Workshop, e *grade.Engine, lessons []*lesson.Lesson, jobs int, sink func(*lesson.Lesson, verdict.Event)) map[string]verdict.Verdict {
	verdicts := map[string]verdict.Verdict{}
	var mu sync.Mutex
	slots := make(chan struct{}, jobs)
	var wg sync.WaitGroup
	for _, l := range lessons {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			v := gradeOne(ctx, w, e, l, func(ev verdict.Event) {
				mu.Lock()
				defer mu.Unlock()
				sink(l, ev)
			})
			mu.Lock()
			defer mu.Unlock()
			verdicts[l.Slug] = v
		})
	}
	wg.Wait()
	return verdicts
}

// gradeOne grades the learner's folder of one lesson and keeps the progress.
func gradeOne(ctx context.Context, w *workshop.Workshop, e *grade.Engine, l *lesson.Lesson, sink grade.Sink) verdict.Verdict {
	c, err := w.Candidate(l)
	if err != nil {
		return grade.Refuse(l, err, sink)
	}
	return e.Learner(ctx, w, c, sink)
}

// printer shows events: as they are with --json, else a progress line and a
// screenful for each verdict.
type printer struct {
	app  *app
	json bool
	all  int
	done int
	line *line
}

func (p *printer) event(l *lesson.Lesson, ev verdict.Event) {
	if p.json {
		json.NewEncoder(p.app.out).Encode(ev)
		return
	}
	switch ev.Type {
	case verdict.Warning:
		p.line.clear()
		p.app.warn("%s", ev.Message)
	case verdict.Step:
		p.line.show(fmt.Sprintf("%d/%d  %s: %s", p.done, p.all, l.Slug, ev.Message))
	case verdict.Graded:
		p.done++
		p.line.clear()
		fmt.Fprintln(p.app.out, render.Verdict(l, *ev.Verdict))
	}
}

func writeJUnit(name string, lessons []*lesson.Lesson, verdicts map[string]verdict.Verdict) error {
	f, err := renameio.NewPendingFile(name, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if err := render.JUnit(f, lessons, verdicts); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}
