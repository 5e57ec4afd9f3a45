package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"pitstop/checker/lesson"
	"pitstop/checker/progress"
	"pitstop/checker/workshop"
)

var (
	bold    = lipgloss.NewStyle().Bold(true)
	faint   = lipgloss.NewStyle().Faint(true)
	added   = lipgloss.NewStyle().Foreground(lipgloss.Green)
	removed = lipgloss.NewStyle().Foreground(lipgloss.Red)
)

func (a *app) listCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the lessons and where you stand", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := a.open(false)
			if err != nil {
				return err
			}
			if asJSON {
				return a.listJSON(w)
			}
			a.list(w)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a lesson")
	return cmd
}

func (a *app) listJSON(w *workshop.Workshop) error {
	enc := json.NewEncoder(a.out)
	for _, l := range w.Pristine.Lessons {
		state, e := stateOf(w, l)
		if err := enc.Encode(struct {
			Type    string   `json:"type"`
			Lesson  string   `json:"lesson"`
			Number  int      `json:"number"`
			Title   string   `json:"title"`
			Module  string   `json:"module"`
			Minutes int      `json:"minutes"`
			Edit    []string `json:"edit"`
			State   string   `json:"state"`
			Hints   int      `json:"hints"`
		}{"lesson", l.Slug, l.Number, l.Title, l.Module, l.Minutes, l.Edit, state, e.Hints}); err != nil {
			return err
		}
	}
	return nil
}

var stateSigns = map[string]string{"pass": "✓", "fail": "✗", "error": "!", "skip": "–", "changed": "~", "new": " "}

func (a *app) list(w *workshop.Workshop) {
	if w.Progress.Problem != "" {
		a.warn("%s", w.Progress.Problem)
	}
	passed, minutes, module := 0, 0, ""
	for _, l := range w.Pristine.Lessons {
		state, _ := stateOf(w, l)
		if l.Module != module {
			module = l.Module
			fmt.Fprintf(a.out, "%s\n", bold.Render(module))
		}
		note := map[string]string{"changed": "changed since it was graded", "fail": "does not pass yet", "skip": "needs more than this machine has"}[state]
		sign := stateSigns[state]
		if state == "pass" {
			passed++
			sign = added.Render(sign)
		} else {
			minutes += l.Minutes
		}
		fmt.Fprintf(a.out, "  %s %-24s %-38s %s  %s\n", sign, l.Slug, l.Title, faint.Render(fmt.Sprintf("%3d min", l.Minutes)), faint.Render(note))
	}
	fmt.Fprintf(a.out, "\n%d of %d pass", passed, len(w.Pristine.Lessons))
	if minutes > 0 {
		fmt.Fprintf(a.out, "; about %d minutes to go", minutes)
	}
	fmt.Fprintln(a.out, "\nnext: bin/checker watch, and edit the lesson it names")
}

func (a *app) hintCmd() *cobra.Command {
	var level int
	cmd := &cobra.Command{
		Use: "hint LESSON", Short: "Show the next hint: where to look, what is wrong, how to mend it", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, l, err := a.openOne(args)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("level") && (level < 1 || level > len(l.Hints)) {
				return usage("--level %d: %s has hints 1 to %d", level, l.Slug, len(l.Hints))
			}
			text, n, err := takeHint(w, l, level)
			if err != nil {
				a.warn("%v", err)
			}
			fmt.Fprintf(a.out, "%s\n\n%s\n", bold.Render(fmt.Sprintf("%s, hint %d of %d", l.Slug, n, len(l.Hints))), lipgloss.Wrap(text, 80, " "))
			if n < len(l.Hints) {
				fmt.Fprintf(a.out, "\n%s\n", faint.Render(fmt.Sprintf("the next one: bin/checker hint %02d", l.Number)))
			} else {
				fmt.Fprintf(a.out, "\n%s\n", faint.Render(fmt.Sprintf("that was the last; the reference: bin/checker diff %02d --spoil", l.Number)))
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&level, "level", 0, "show hint `N` (1 to 3) instead of the next one")
	return cmd
}

// takeHint returns the hint of a level, or where level is 0 the next that has
// not been shown, and remembers that it was.
func takeHint(w *workshop.Workshop, l *lesson.Lesson, level int) (text string, n int, err error) {
	if n = level; n == 0 {
		n = min(w.Progress.All()[l.Slug].Hints+1, len(l.Hints))
	}
	err = w.Progress.Update(l.Slug, func(e *progress.Entry) { e.Hints = max(e.Hints, n) })
	return strings.TrimSpace(l.Hints[n-1]), n, err
}

func (a *app) diffCmd() *cobra.Command {
	var spoil bool
	cmd := &cobra.Command{
		Use: "diff LESSON", Short: "Show your mend beside the reference, once it passes", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, l, err := a.openOne(args)
			if err != nil {
				return err
			}
			text, err := difference(w, l, spoil)
			if err != nil {
				return exit{statusError, err}
			}
			fmt.Fprint(a.out, text)
			return nil
		},
	}
	cmd.Flags().BoolVar(&spoil, "spoil", false, "show the reference although the lesson does not pass yet")
	return cmd
}

// difference renders what separates the learner's files from the reference
// and explains the reference; before the lesson passes, what the learner has
// changed so far.
func difference(w *workshop.Workshop, l *lesson.Lesson, spoil bool) (string, error) {
	c, err := w.Candidate(l)
	if err != nil {
		return "", err
	}
	state, _ := stateOf(w, l)
	var b strings.Builder
	if state != "pass" && !spoil {
		own := unified("as shipped", l.Unsolve(), "yours", c.Files)
		if own == "" {
			own = "you have not changed anything yet\n"
		}
		b.WriteString(own)
		fmt.Fprintf(&b, "\n%s\n", faint.Render(fmt.Sprintf("the reference is shown once %s passes (bin/checker check %02d); to see it now: bin/checker diff %02d --spoil", l.Slug, l.Number, l.Number)))
		return b.String(), nil
	}
	s, err := w.Solution(l)
	if err != nil {
		return "", err
	}
	d := unified("yours", c.Files, "reference", s.Reference)
	if d == "" {
		d = "yours is the reference, to the letter\n"
	}
	b.WriteString(d)
	if len(s.Explanation) > 0 {
		fmt.Fprintf(&b, "\n%s\n\n%s", bold.Render("Why the reference is as it is"), s.Explanation)
	}
	return b.String(), nil
}

func unified(oldName string, old map[string][]byte, newName string, new map[string][]byte) string {
	names := map[string]bool{}
	for n := range old {
		names[n] = true
	}
	for n := range new {
		names[n] = true
	}
	var b strings.Builder
	for _, n := range slices.Sorted(maps.Keys(names)) {
		d := diff.Diff(oldName+"/"+n, old[n], newName+"/"+n, new[n])
		for line := range strings.Lines(string(d)) {
			text := strings.TrimSuffix(line, "\n")
			switch {
			case strings.HasPrefix(text, "diff "):
				continue
			case strings.HasPrefix(text, "+++"), strings.HasPrefix(text, "---"):
				text = bold.Render(text)
			case strings.HasPrefix(text, "+"):
				text = added.Render(text)
			case strings.HasPrefix(text, "-"):
				text = removed.Render(text)
			}
			b.WriteString(text + "\n")
		}
	}
	return b.String()
}

func (a *app) resetCmd() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "reset LESSON | --all", Short: "Put a lesson back as it was shipped; what you had is backed up first", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usage("name a lesson to reset, as `bin/checker reset 03`, or use --all for every one")
			}
			w, err := a.open(false)
			if err != nil {
				return err
			}
			list, err := pick(w, args)
			if err != nil {
				return err
			}
			unlock, err := a.lock(cmd.Context(), w)
			if err != nil {
				return err
			}
			defer unlock()
			for _, l := range list {
				backup, err := w.Reset(l)
				if err != nil {
					return exit{statusError, fmt.Errorf("reset %s: %w%s", l.Slug, err, progress.Advice(err))}
				}
				if backup == "" {
					fmt.Fprintf(a.out, "%s: is as it was shipped\n", l.Slug)
					continue
				}
				fmt.Fprintf(a.out, "%s: put back as it was shipped; what you had is in %s\n", l.Slug, relative(w.Root, backup))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "reset every lesson")
	return cmd
}
