package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"pitstop/checker/author"
	"pitstop/checker/progress"
	"pitstop/checker/workshop"
)

func (a *app) verifyCmd() *cobra.Command {
	var o author.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use: "verify [LESSON…]", Short: "For authors: is the grader right about every known mend?",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Runs < 1 || o.Jobs < 1 {
				return usage("--runs and --jobs: at least 1")
			}
			w, err := a.open(true)
			if err != nil {
				return err
			}
			lessons, err := pick(w, args)
			if err != nil {
				return err
			}
			e, done, err := a.engine(cmd.Context(), w)
			if err != nil {
				return err
			}
			defer done()
			e.Joint = true
			unlock, err := a.lock(cmd.Context(), w)
			if err != nil {
				return err
			}
			defer unlock()
			line := newLine(a.err, a.terminal)
			r, err := author.Verify(cmd.Context(), w, e, lessons, o, func(n, all int, name, problem string) {
				if problem != "" {
					line.clear()
					fmt.Fprintln(a.err, "WRONG", problem)
				}
				line.show(fmt.Sprintf("%d/%d  %s", n, all, name))
			})
			line.clear()
			if err != nil {
				return exit{statusError, err}
			}
			if asJSON {
				json.NewEncoder(a.out).Encode(r)
			} else {
				a.report(r)
			}
			switch {
			case len(r.Errors) > 0:
				return exit{status: statusError}
			case !r.OK():
				return exit{status: statusFail}
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&o.Runs, "runs", 1, "grade every mend `N` times and report those whose verdict varies")
	cmd.Flags().BoolVar(&o.SkipRejected, "skip-rejected", false, "leave out the wrong mends, for many runs of the right ones")
	cmd.Flags().IntVar(&o.Jobs, "jobs", 2*runtime.NumCPU(), "grade up to `N` mends at once; wrong ones mostly wait")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as one JSON object")
	return cmd
}

func (a *app) report(r *author.Report) {
	fmt.Fprintf(a.out, "%d lessons, every mend graded %d times, %.0f s\n", r.Lessons, r.Runs, r.Seconds)
	fmt.Fprintf(a.out, "  unsolved lessons that fail as stated  %d\n", r.UnsolvedFail)
	fmt.Fprintf(a.out, "  reference mends that pass             %d\n", r.SolutionsPass)
	fmt.Fprintf(a.out, "  other right mends that pass           %d\n", r.Accepted)
	fmt.Fprintf(a.out, "  wrong mends caught as stated          %d\n", r.Rejected)
	if len(r.Skipped) > 0 {
		fmt.Fprintf(a.out, "  not to be judged on this machine      %d\n", len(r.Skipped))
	}
	for _, p := range r.Problems() {
		fmt.Fprintln(a.out, removed.Render("✗ ")+p)
	}
	if r.OK() {
		fmt.Fprintln(a.out, added.Render("✓ ")+"the grader is right about every one")
	}
}

func (a *app) newCmd() *cobra.Command {
	return &cobra.Command{
		Use: "new SLUG", Short: "For authors: make the folders of a new lesson", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := a.open(true)
			if err != nil {
				return err
			}
			slug, files, err := author.New(w.Root, args[0])
			if errors.Is(err, author.ErrSlug) {
				return usage("%v", err)
			}
			if err != nil {
				return exit{statusError, fmt.Errorf("new %s: %w%s", args[0], err, progress.Advice(err))}
			}
			for _, f := range files {
				fmt.Fprintln(a.out, "wrote", f)
			}
			fmt.Fprintf(a.out, "\nnext: `make pristine`, then `bin/checker verify %s`: the scaffold is a whole lesson and passes; now make it yours\n", slug[:2])
			return nil
		},
	}
}

func (a *app) pristineCmd() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use: "pristine", Short: "For authors: write what is generated: the pristine copy, the table in README.md", Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			root, err := workshop.Find(".")
			if err != nil {
				return exit{statusError, err}
			}
			if check {
				differ, err := author.CheckPristine(root)
				if err != nil {
					return exit{statusError, err}
				}
				if len(differ) > 0 {
					return exit{statusFail, fmt.Errorf("what is generated is not up to date; authors run `make pristine`:\n  %s", strings.Join(differ, "\n  "))}
				}
				return nil
			}
			changed, err := author.WritePristine(root)
			if err != nil {
				return exit{statusError, err}
			}
			for _, name := range changed {
				fmt.Fprintln(a.out, "wrote", name)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "only say whether it is up to date")
	return cmd
}

func relative(root, p string) string {
	if rel, err := filepath.Rel(root, p); err == nil {
		return filepath.ToSlash(rel)
	}
	return p
}
