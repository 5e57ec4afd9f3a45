package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"pitstop/checker/cluster"
	"pitstop/checker/gotool"
	"pitstop/checker/workshop"
)

func (a *app) doctorCmd() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Say whether this machine can grade, and what is missing", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.doctor(cmd.Context()) },
	}
}

// doctor looks at everything that grading needs and goes on after the first
// fault, so that one run names them all.
func (a *app) doctor(ctx context.Context) error {
	faults := 0
	ok := func(what, detail string) { fmt.Fprintf(a.out, "%s %-22s %s\n", added.Render("✓"), what, detail) }
	fault := func(what, detail string) {
		faults++
		fmt.Fprintf(a.out, "%s %-22s %s\n", removed.Render("✗"), what, detail)
	}
	note := func(what, detail string) { fmt.Fprintf(a.out, "%s %-22s %s\n", faint.Render("–"), what, detail) }

	ok("machine", gotool.Runtime())
	if runtime.GOOS == "windows" {
		fault("system", "on Windows the workshop runs inside WSL; open a WSL shell and clone it there")
	}
	var w *workshop.Workshop
	if opened, err := a.open(false); err != nil {
		fault("workshop", err.Error())
	} else {
		w = opened
		ok("workshop", fmt.Sprintf("%s, %d lessons", w.Root, len(w.Pristine.Lessons)))
		if w.Progress.Problem != "" {
			note("progress", w.Progress.Problem)
		} else {
			ok("progress", filepath.Join(w.Root, ".pitstop"))
		}
	}
	if err := tryTemp(); err != nil {
		fault("temporary files", fmt.Sprintf("%v; free some space, or set TMPDIR to a folder of your own", err))
	} else {
		ok("temporary files", os.TempDir())
	}
	root := "."
	if w != nil {
		root = w.Root
	}
	tool, err := gotool.Find(ctx, root)
	switch {
	case err != nil:
		fault("Go", err.Error())
	default:
		ok("Go", tool.Version+" at "+tool.Go)
		if tool.NoRace != "" {
			fault("race detector", tool.NoRace)
		} else {
			ok("race detector", "can be built")
		}
		if w != nil {
			if out, err := tool.Command(ctx, root, "mod", "verify"); err != nil {
				fault("modules", "run `go mod download` once with a network: "+strings.TrimSpace(out))
			} else {
				ok("modules", strings.TrimSpace(out))
			}
		}
	}
	for _, l := range cluster.Missing(ctx, cluster.Needs["verify"]...) {
		note(l.Tool, "for lesson 24's image and cluster only: "+l.How)
	}
	if runtime.GOOS != "linux" {
		note("processes", "a process that leaves its group is only found on Linux")
	}
	if faults > 0 {
		return exit{statusError, fmt.Errorf("%d of these must be mended before lessons can be graded", faults)}
	}
	fmt.Fprintln(a.out, "\nthis machine can grade; next: bin/checker list")
	return nil
}

// tryTemp writes a program where builds go and makes sure it may be run.
func tryTemp() error {
	dir, err := os.MkdirTemp("", tmpPrefix+fmt.Sprint(os.Getpid())+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p := filepath.Join(dir, "try")
	if err := os.WriteFile(p, append([]byte("#!/bin/sh\nexit 0\n"), make([]byte, 8<<20)...), 0o700); err != nil {
		return err
	}
	if err := exec.Command(p).Run(); err != nil {
		return fmt.Errorf("a program in it cannot be run: %w", err)
	}
	return nil
}
