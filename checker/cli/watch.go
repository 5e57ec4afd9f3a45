package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"pitstop/checker/lesson"
	"pitstop/checker/tui"
	"pitstop/checker/watch"
	"pitstop/checker/workshop"
)

func (a *app) watchCmd() *cobra.Command {
	return &cobra.Command{
		Use: "watch [LESSON]", Short: "Grade a lesson at every save", Args: cobra.MaximumNArgs(1),
		Long: "Grade a lesson at every save: on a terminal as a screen, else (or with TERM=dumb)\n" +
			"as lines of text, where the letters h d n p r q, one a line, are the keys.\n" +
			"Without LESSON it is the first that has not passed.\n\n" +
			watch.PollVar + "=1 looks for saves every half second, for a folder whose file\n" +
			"system does not report changes.",
		RunE: func(cmd *cobra.Command, args []string) error {
			arg := ""
			if len(args) > 0 {
				arg = args[0]
			}
			return a.watch(cmd.Context(), arg)
		},
	}
}

func (a *app) watch(ctx context.Context, arg string) error {
	w, err := a.open(false)
	if err != nil {
		return err
	}
	var args []string
	if arg != "" {
		args = []string{arg}
	}
	first, err := a.one(w, args)
	if err != nil {
		return err
	}
	e, done, err := a.engine(ctx, w)
	if err != nil {
		return err
	}
	defer done()
	session := watch.NewSession(&watch.Folders{Workshop: w, Engine: e}, w.Root)
	if a.terminal {
		if err := tui.Run(ctx, session, guide(w), first, a.rawIn, a.rawOut); err != nil {
			return exit{statusError, err}
		}
		return nil
	}
	var in io.Reader
	if a.rawIn == nil || !isTerminal(a.rawIn) || isTerminal(a.rawOut) {
		in = a.in // a terminal's keys are the shell's while a log is written elsewhere
	}
	watch.Plain(ctx, session, guide(w), first, in, a.out)
	return nil
}

// guide lets the watch modes ask what the other commands answer.
func guide(w *workshop.Workshop) *watch.Guide {
	state := func(l *lesson.Lesson) string {
		s, _ := stateOf(w, l)
		return s
	}
	return &watch.Guide{
		Lessons: w.Pristine.Lessons,
		State:   state,
		Hint:    func(l *lesson.Lesson, level int) (string, int, error) { return takeHint(w, l, level) },
		Diff: func(l *lesson.Lesson) (string, error) {
			if state(l) != "pass" {
				return "", watch.ErrNotYet
			}
			return difference(w, l, false)
		},
	}
}
