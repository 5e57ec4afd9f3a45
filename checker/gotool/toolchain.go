// Package gotool drives the Go toolchain: it finds it, builds test binaries
// with it, runs them within limits and reads their event stream.
package gotool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/version"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// MinVersion is the oldest Go that can build the lessons.
const MinVersion = "go1.26"

// Toolchain is the go command that grades, with an environment that a
// learner's settings cannot bend: no GOFLAGS, no go.work, no go env -w, no
// toolchain switch in the middle of a session.
type Toolchain struct {
	Go      string // path of the go command
	Version string // as go1.26.8
	NoRace  string // why the race detector cannot be built here; empty where it can
	env     []string

	first [2]gate // held through the first build of a profile: what it compiles once, others would compile too
}

// kept are the settings that say where things are and how modules are
// fetched; a company's proxy must go on working.
var kept = []string{
	"GOPROXY", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOINSECURE", "GOAUTH",
	"GOMODCACHE", "GOCACHE", "GOPATH", "CC", "CGO_ENABLED", "GOVERSION", "GOROOT", "GOHOSTOS", "GOHOSTARCH",
}

// Find asks the go command on PATH which toolchain the workshop at root gets,
// and takes that one.
func Find(ctx context.Context, root string) (*Toolchain, error) {
	goCmd, err := exec.LookPath("go")
	if err != nil {
		return nil, fmt.Errorf("no go command on PATH; install Go %s or later from https://go.dev/dl and open a new shell", MinVersion[2:])
	}
	out, err := goEnv(ctx, goCmd, root, "")
	if err != nil {
		// A toolchain that the learner set by name, and that cannot be had.
		if local, again := goEnv(ctx, goCmd, root, "local"); again == nil {
			out, err = local, nil
		}
	}
	if err != nil {
		text := err.Error()
		if strings.Contains(text, "go.mod requires go") || strings.Contains(text, "toolchain") {
			return nil, fmt.Errorf("this Go is too old for the workshop (%s); install Go %s or later from https://go.dev/dl", firstLine(text), MinVersion[2:])
		}
		return nil, fmt.Errorf("%s env: %s", goCmd, firstLine(text))
	}
	var env map[string]string
	if err := json.Unmarshal(out, &env); err != nil {
		return nil, fmt.Errorf("%s env: %w", goCmd, err)
	}
	t := &Toolchain{Go: goCmd, Version: env["GOVERSION"]}
	if v := "go" + strings.TrimPrefix(strings.Fields(t.Version + " ?")[0], "go"); version.IsValid(v) && version.Compare(v, MinVersion) < 0 {
		return nil, fmt.Errorf("%s is too old for the workshop; install Go %s or later from https://go.dev/dl", t.Version, MinVersion[2:])
	}
	// The go command that was selected, not the one that selects.
	if own := filepath.Join(env["GOROOT"], "bin", "go"); isFile(own) {
		t.Go = own
	}
	t.NoRace = noRace(env)
	t.env = buildEnv(env)
	return t, nil
}

// goEnv asks the go command for the settings that are kept. The error holds
// what it printed.
func goEnv(ctx context.Context, goCmd, root, toolchain string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, goCmd, append([]string{"env", "-json"}, kept...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOEXPERIMENT=")
	if toolchain != "" {
		cmd.Env = append(cmd.Env, "GOTOOLCHAIN="+toolchain)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.New(strings.TrimSpace(stderr.String() + "\n" + err.Error()))
	}
	return out, nil
}

// Clone returns the same toolchain with first builds of its own to come, to
// be changed without effect on this one.
func (t *Toolchain) Clone() *Toolchain {
	return &Toolchain{Go: t.Go, Version: t.Version, NoRace: t.NoRace, env: slices.Clone(t.env)}
}

// buildEnv is the whole environment of a build.
func buildEnv(env map[string]string) []string {
	list := []string{
		"GOENV=off", "GOWORK=off", "GOTOOLCHAIN=local", "GOFLAGS=-mod=readonly", "GO111MODULE=on",
		"GOEXPERIMENT=", "GODEBUG=", "GOTELEMETRY=off",
		// The compiler and the linker end before a collection would pay.
		"GOGC=off", "GOMEMLIMIT=512MiB",
	}
	for _, k := range kept {
		// Tests run here, whatever the learner builds for: HOST is dropped.
		if v := env[k]; v != "" && k != "GOVERSION" {
			list = append(list, strings.Replace(k, "GOHOST", "GO", 1)+"="+v)
		}
	}
	for _, k := range []string{"PATH", "HOME", "USER", "TMPDIR", "GOTMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSH_AUTH_SOCK", "SDKROOT", "DEVELOPER_DIR"} {
		if v, ok := os.LookupEnv(k); ok {
			list = append(list, k+"="+v)
		}
	}
	return list
}

// noRace says why this machine cannot build with -race. On Linux the race
// runtime is linked with the C library, so a C compiler is needed.
func noRace(env map[string]string) string {
	switch env["GOHOSTOS"] + "/" + env["GOHOSTARCH"] {
	case "darwin/amd64", "darwin/arm64":
		return ""
	case "linux/amd64", "linux/arm64", "linux/ppc64le", "linux/s390x", "linux/loong64", "freebsd/amd64":
	default:
		return fmt.Sprintf("the race detector does not exist for %s/%s", env["GOHOSTOS"], env["GOHOSTARCH"])
	}
	cc := strings.Fields(env["CC"] + " ")
	if len(cc) == 0 {
		cc = []string{"gcc"}
	}
	if _, err := exec.LookPath(cc[0]); err != nil {
		return fmt.Sprintf("the race detector needs a C compiler, and %s is not on PATH; install one (Debian, Ubuntu: apt-get install gcc libc6-dev; Fedora: dnf install gcc)", cc[0])
	}
	if env["CGO_ENABLED"] == "0" {
		return "the race detector needs cgo, and CGO_ENABLED is 0; take that setting away (go env -u CGO_ENABLED)"
	}
	return ""
}

// Limit on what one build may print: enough for a page of errors.
const buildOutput = 256 << 10

// Build is one test binary to be made.
type Build struct {
	Root    string // the workshop, where go.mod is
	Package string // as ./lessons/01_bounded_workers
	Overlay string // JSON file for -overlay; may be empty
	Out     string // where the binary goes
	Race    bool
}

// Test builds one test binary. Debug tables are left out: linking is most of
// a verdict's time, and stacks do not need them. Vet is left out of the hot
// path for the same reason.
func (t *Toolchain) Test(ctx context.Context, b Build) error {
	args := []string{"test", "-c", "-vet=off", "-tags=review", "-ldflags=-s -w", "-o", b.Out}
	if b.Overlay != "" {
		args = append(args, "-overlay", b.Overlay)
	}
	if b.Race {
		args = append(args, "-race")
	}
	i := 0
	if b.Race {
		i = 1
	}
	open, err := t.first[i].enter(ctx)
	if err != nil {
		return err
	}
	defer open()
	// What the tools leave when they are killed is left where it is taken away.
	tmp := filepath.Dir(b.Out)
	out, err := t.run(ctx, b.Root, []string{"TMPDIR=" + tmp, "GOTMPDIR=" + tmp}, append(args, b.Package)...)
	if err == nil && !isFile(b.Out) {
		err = errors.New("the go command made no test binary")
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &BuildError{Output: out, Err: err}
}

// Command runs the go command at root and returns what it printed.
func (t *Toolchain) Command(ctx context.Context, root string, args ...string) (string, error) {
	return t.run(ctx, root, nil, args...)
}

func (t *Toolchain) run(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, t.Go, args...)
	cmd.Dir = dir
	cmd.Env = append(append(slices.Clone(t.env), "PWD="+dir), env...)
	out := &capped{max: buildOutput}
	cmd.Stdout, cmd.Stderr = out, out
	ownGroup(cmd)
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = waitDelay
	err := cmd.Run()
	return string(out.b), err
}

// gate lets one through first and the others once that one is done. Who waits
// at it leaves when its context ends.
type gate struct {
	mu   sync.Mutex
	done chan struct{} // closed when the first is through
}

func (g *gate) enter(ctx context.Context) (leave func(), err error) {
	g.mu.Lock()
	done := g.done
	if done == nil {
		g.done = make(chan struct{})
		defer g.mu.Unlock()
		return sync.OnceFunc(func() { close(g.done) }), nil
	}
	g.mu.Unlock()
	select {
	case <-done:
		return func() {}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// BuildError is a build that failed, with what the go command printed.
type BuildError struct {
	Output string
	Err    error
}

func (e *BuildError) Error() string { return fmt.Sprintf("build: %v\n%s", e.Err, e.Output) }
func (e *BuildError) Unwrap() error { return e.Err }

// Runtime describes the machine, for doctor.
func Runtime() string {
	return fmt.Sprintf("%s/%s, %d CPUs", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
}

type capped struct {
	b   []byte
	max int
}

func (c *capped) Write(p []byte) (int, error) {
	if room := c.max - len(c.b); room > 0 {
		c.b = append(c.b, p[:min(len(p), room)]...)
	}
	return len(p), nil
}

func isFile(p string) bool {
	info, err := os.Stat(p)
	return err == nil && info.Mode()&fs.ModeType == 0
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}
