package gotool

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
)

// Program is one program to be made for a container: static, for Linux, and
// the same bytes wherever it is made from the same files.
type Program struct {
	Root    string            // the workshop, where go.mod is
	Package string            // as ./lessons/24_capstone/cmd/dispatchd
	Overlay string            // JSON file for -overlay; may be empty
	Out     string            // where the binary goes
	Arch    string            // GOARCH
	Stamp   map[string]string // values of string variables in package main
}

// Program builds a program. What the compiler says is in a *BuildError.
func (t *Toolchain) Program(ctx context.Context, p Program) error {
	ld := []string{"-s", "-w", "-buildid="}
	for name, value := range p.Stamp {
		ld = append(ld, "-X=main."+name+"="+value)
	}
	slices.Sort(ld[3:])
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=" + strings.Join(ld, " "), "-o", p.Out}
	if p.Overlay != "" {
		args = append(args, "-overlay", p.Overlay)
	}
	tmp := filepath.Dir(p.Out)
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + p.Arch, "TMPDIR=" + tmp, "GOTMPDIR=" + tmp}
	out, err := t.run(ctx, p.Root, env, append(args, p.Package)...)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &BuildError{Output: out, Err: err}
}
