package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"pitstop/checker/author"
	"pitstop/checker/candidate"
	"pitstop/checker/lesson"
	"pitstop/checker/render"
	"pitstop/checker/verdict"
	"pitstop/checker/workshop"
)

func (a *app) demoCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "demo", Short: "The whole service as shipped, as yours and as mended: its figures side by side",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.demo(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print events, one JSON object a line")
	return cmd
}

// demo grades three states of the lesson that is built from the others, in
// one run, so that their figures can be compared.
func (a *app) demo(ctx context.Context, asJSON bool) error {
	w, err := a.open(false)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(w.Pristine.Lessons, func(l *lesson.Lesson) bool { return len(l.Uses) > 0 })
	if i < 0 {
		return exit{statusError, errors.New("no lesson here is built from the others")}
	}
	l := w.Pristine.Lessons[i]
	states, err := demoStates(w, l)
	if err != nil {
		return exit{statusError, err}
	}
	hidden, err := w.Hidden(l)
	if err != nil {
		return exit{statusError, err}
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
	line := newLine(a.err, a.terminal && !asJSON)
	for i := range states {
		s := &states[i]
		line.show(fmt.Sprintf("%d/%d  %s", i, len(states), s.Name))
		g := e.Open(s.candidate, hidden)
		s.Verdict = g.Run(ctx, func(ev verdict.Event) {
			if asJSON {
				json.NewEncoder(a.out).Encode(struct {
					State string `json:"state"`
					verdict.Event
				}{s.Name, ev})
			}
		})
		g.Close()
		if ctx.Err() != nil {
			break
		}
	}
	line.clear()
	if ctx.Err() != nil {
		return exit{statusError, errors.New("interrupted; nothing of yours was changed")}
	}
	var shown []render.State
	for _, s := range states {
		if s.Verdict.Outcome == verdict.Error {
			return exit{statusError, fmt.Errorf("%s could not be measured: %s", s.Name, render.Headline(s.Verdict))}
		}
		shown = append(shown, s.State)
	}
	if !asJSON {
		fmt.Fprint(a.out, render.SideBySide(l, shown))
	}
	return nil
}

type demoState struct {
	render.State
	candidate *candidate.Candidate
}

// demoStates are the lesson as shipped, as the learner has it where that is
// something else, and as mended.
func demoStates(w *workshop.Workshop, l *lesson.Lesson) ([]demoState, error) {
	shipped, err := author.Shipped(w, l)
	if err != nil {
		return nil, err
	}
	mended, err := author.Mended(w, l)
	if err != nil {
		return nil, err
	}
	states := []demoState{{render.State{Name: "as shipped"}, shipped}, {render.State{Name: "mended"}, mended}}
	yours, err := w.Candidate(l)
	if err != nil {
		return nil, err
	}
	if !yours.Untouched() {
		states = slices.Insert(states, 1, demoState{render.State{Name: "yours"}, yours})
	}
	return states, nil
}
