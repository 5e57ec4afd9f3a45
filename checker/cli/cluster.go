package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"pitstop/checker/cluster"
	"pitstop/checker/gotool"
	"pitstop/checker/render"
	"pitstop/checker/verdict"
)

type clusterFlags struct {
	json, solutions                           bool
	name, nodeImage, config, version, overlay string
	rate                                      int
}

func (a *app) clusterCmd() *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use: "cluster", Short: "Lesson 24: put dispatchd into an image and onto a cluster of your own", Args: cobra.NoArgs,
		Long: "Lesson 24, rings 2 and 3: the service of your own packages as an image, and on\n" +
			"Kubernetes, which kind runs in Docker. `make image`, `make kind-up`,\n" +
			"`make kind-deploy`, `make kind-verify` and `make kind-down` call these.\n\n" +
			"Exit status: 0 every step holds, or a tool is missing and nothing was done\n" +
			"(the last line says which); 1 a step fails; 3 something could not be done.",
		RunE: func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	p := cmd.PersistentFlags()
	p.BoolVar(&f.json, "json", false, "print events, one JSON object a line")
	p.BoolVar(&f.solutions, "solutions", false, "for authors: the reference mends, manifests, Dockerfile and kind.yaml in the place of yours")
	p.StringVar(&f.name, "cluster", cmp.Or(os.Getenv("KIND_CLUSTER"), "pitstop"), "`NAME` of the kind cluster (KIND_CLUSTER)")
	for _, sub := range []struct{ name, short string }{
		{"image", "Build the image, and look at what is in it"},
		{"up", "Start a cluster from kind.yaml, or take the one that is there"},
		{"deploy", "Bring dispatchd and the world outside it onto the cluster"},
		{"verify", "Try it: rolling update, killed pod, drained node, memory, network, debugging"},
		{"down", "Take the cluster away"},
	} {
		c := &cobra.Command{
			Use: sub.name, Short: sub.short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, args []string) error { return a.cluster(cmd.Context(), sub.name, args, f) },
		}
		own := c.Flags()
		switch sub.name {
		case "up":
			own.StringVar(&f.nodeImage, "image", os.Getenv("KIND_IMAGE"), "`IMAGE` of the nodes (KIND_IMAGE)")
			own.StringVar(&f.config, "config", os.Getenv("KIND_CONFIG"), "kind config `FILE` in the place of the lesson's kind.yaml (KIND_CONFIG)")
		case "image", "deploy":
			own.StringVar(&f.version, "version", os.Getenv("VERSION"), "`VERSION` of the image, its tag; without one it is made of the content (VERSION)")
		}
		switch sub.name {
		case "deploy", "verify":
			own.StringVar(&f.overlay, "overlay", os.Getenv("OVERLAY"), "`FOLDER` of the kustomization, where there are several (OVERLAY)")
		}
		if sub.name == "verify" {
			var names []string
			for _, step := range cluster.Commands[sub.name] {
				names = append(names, step.Name)
			}
			c.Use, c.Args = "verify [STEP…]", cobra.OnlyValidArgs
			c.ValidArgs = names
			c.Long = sub.short + ".\n\nSTEP is one of " + strings.Join(names, ", ") + "; all of them where none is named."
			own.IntVar(&f.rate, "rate", 20, "requests a second from each node")
		}
		cmd.AddCommand(c)
	}
	return cmd
}

func (a *app) cluster(ctx context.Context, command string, steps []string, f clusterFlags) error {
	w, err := a.open(f.solutions)
	if err != nil {
		return err
	}
	if f.rate != 0 && f.rate < 2 {
		return usage("--rate %d: at least 2", f.rate)
	}
	e, done, err := a.clusterTools(ctx, w.Root, command)
	if err != nil {
		return err
	}
	defer done()
	show := &clusterPrinter{app: a, line: newLine(a.err, a.terminal && !f.json), json: f.json}
	s := &cluster.Session{
		Workshop: w, Tool: e.tool, Tmp: e.tmp,
		Cluster: f.name, NodeImage: f.nodeImage, Config: f.config, Version: f.version, Overlay: f.overlay, Only: steps, Rate: f.rate,
		Emit: show.event,
	}
	if f.solutions {
		s.Source = cluster.Reference
		if _, err := fs.Stat(w.Solutions, "solutions/"+cluster.Capstone); err != nil {
			return exit{statusError, err}
		}
	}
	switch s.Run(ctx, command) {
	case verdict.Fail:
		return exit{status: statusFail}
	case verdict.Error:
		return exit{status: statusError}
	}
	return nil
}

type clusterTools struct {
	tool *gotool.Toolchain
	tmp  string
}

// clusterTools makes a folder to work in, and finds the go command where one
// is needed and the other tools are there.
func (a *app) clusterTools(ctx context.Context, root, command string) (t clusterTools, done func(), err error) {
	sweepTmp()
	if t.tmp, err = os.MkdirTemp("", fmt.Sprintf("%s%d-", tmpPrefix, os.Getpid())); err != nil {
		return t, nil, exit{statusError, err}
	}
	done = func() { os.RemoveAll(t.tmp) }
	if cluster.Builds[command] && len(cluster.Missing(ctx, cluster.Needs[command]...)) == 0 {
		if t.tool, err = gotool.Find(ctx, root); err != nil {
			done()
			return t, nil, exit{statusError, err}
		}
	}
	return t, done, nil
}

// clusterPrinter shows what a command on the cluster does: events as they are
// with --json, else a few lines a step.
type clusterPrinter struct {
	app  *app
	line *line
	json bool
	mu   sync.Mutex
	step string
}

var words = map[verdict.Outcome]string{verdict.Pass: "PASS", verdict.Fail: "FAIL", verdict.Skip: "SKIP", verdict.Error: "ERROR"}

func (p *clusterPrinter) event(ev cluster.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.app.out
	if p.json {
		json.NewEncoder(out).Encode(ev)
		return
	}
	switch ev.Type {
	case cluster.Start:
		p.step = ev.Step
		fmt.Fprintf(out, "%s  %s\n", bold.Render(ev.Step), ev.Message)
	case cluster.Progress:
		p.line.clear()
		fmt.Fprintln(out, faint.Render("  · "+ev.Message))
		if p.line.live {
			p.line.show(ev.Step + ": " + ev.Message)
		}
	case cluster.Ended:
		p.line.clear()
		v := *ev.Verdict
		fmt.Fprintf(out, "%s  %s  %s\n", outcome(v.Outcome), bold.Render(ev.Step), faint.Render(fmt.Sprintf("%.1f s", v.Seconds)))
		for _, f := range v.Findings {
			text := f.Message
			if v.Outcome == verdict.Fail {
				text = removed.Render(f.Code) + ": " + text
			}
			fmt.Fprintln(out, indent(lipgloss.Wrap(text, 96, " "), "  "))
			if f.File != "" {
				fmt.Fprintln(out, faint.Render("    "+f.File))
			}
			if f.Detail != "" {
				fmt.Fprintln(out, faint.Render(indent(strings.TrimSpace(f.Detail), "    │ ")))
			}
		}
		v.Findings, v.Outcome = nil, verdict.Pass // what is left are the figures
		if body := render.Body(v, 100); body != "" {
			fmt.Fprint(out, body)
		}
		fmt.Fprintln(out)
	case cluster.Summed:
		var parts []string
		for _, c := range []struct {
			n    int
			word string
		}{{ev.Passed, "passed"}, {ev.Failed, "failed"}, {ev.Errors, "could not be done"}, {ev.Skipped, "skipped"}} {
			if c.n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", c.n, c.word))
			}
		}
		fmt.Fprintf(out, "%s  %s: %s; %s  %s\n", outcome(ev.Outcome), ev.Command, strings.Join(parts, ", "), ev.Message, faint.Render(fmt.Sprintf("%.0f s", ev.Seconds)))
	}
}

func outcome(o verdict.Outcome) string {
	switch o {
	case verdict.Pass:
		return added.Render(words[o])
	case verdict.Fail, verdict.Error:
		return removed.Render(words[o])
	}
	return faint.Render(words[o])
}

func indent(s, by string) string { return by + strings.ReplaceAll(s, "\n", "\n"+by) }
