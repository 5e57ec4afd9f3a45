//go:build unix

package grade_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pitstop/checker/candidate"
	"pitstop/checker/gotool"
	"pitstop/checker/grade"
	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

const rightMend = "package x\n\nfunc Double(n int) int { return n * 2 }\n"

// exhibitOf is an exhibit without a file: what the learner wrote, and the
// outcome that it must get.
func exhibitOf(t *testing.T, want, code string) *exhibit {
	t.Helper()
	x := readExhibit(t, "testdata/museum/mended.txtar")
	f := strings.Fields(want)
	x.outcome, x.codes = verdict.Outcome(f[0]), f[1:]
	x.learner["x.go"] = []byte(code)
	return x
}

// hostile are settings of a learner's shell that bend a build.
var hostile = map[string]string{
	"GOFLAGS":      "-tags=x -overlay=/nowhere.json -toolexec=/bin/false -mod=vendor -race=false",
	"GOWORK":       "/nowhere/go.work",
	"GOOS":         "windows",
	"GOARCH":       "arm64",
	"GOEXPERIMENT": "nonsense",
	"GODEBUG":      "panicnil=1",
	"GOTRACEBACK":  "none",
	"GORACE":       "log_path=/tmp/race exitcode=0 halt_on_error=1",
	"GOMAXPROCS":   "1",
	"GOGC":         "off",
	"CGO_CFLAGS":   "-nonsense",
}

func TestMuseum_EnvironmentHasNoEffect(t *testing.T) {
	x := exhibitOf(t, "pass", rightMend)
	x.lesson["x_tagged.go"] = []byte("//go:build x\n\npackage x\n\nfunc init() { panic(\"tagged\") }\n")
	for name, value := range hostile {
		t.Setenv(name, value)
	}
	env := filepath.Join(t.TempDir(), "env")
	require.NoError(t, os.WriteFile(env, []byte("GOFLAGS=-tags=x\nGOTOOLCHAIN=go1.1\nGOAMD64=v9\n"), 0o644))
	t.Setenv("GOENV", env)
	tool, err := gotool.Find(t.Context(), ".")
	require.NoError(t, err)
	x.show(t, tool)
}

func TestMuseum_WithoutTheRaceDetector(t *testing.T) {
	found := findToolchain(t)
	for _, c := range []struct{ name, want, code string }{
		{"what can be looked at holds", "skip skip.race", rightMend},
		{"the behaviour fails", "fail test.failed test.failed", "package x\n\nfunc Double(n int) int { return n + 2 }\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := exhibitOf(t, c.want, c.code)
			x.codes = x.codes[:1]
			x.profiles = "race, perf"
			x.show(t, withoutRace(found))
		})
	}
	t.Run("a test that needs it is skipped", func(t *testing.T) {
		x := exhibitOf(t, "skip skip.race", rightMend)
		x.profiles = "race"
		x.says = []string{"no compiler here"}
		x.lesson["x_test.go"] = append(x.lesson["x_test.go"], "\nfunc TestRaces(t *testing.T) { t.Skip(\"needs the race detector\") }\n"...)
		x.show(t, withoutRace(found))
	})
}

// withoutRace is the toolchain of a machine that cannot build with -race.
func withoutRace(found *gotool.Toolchain) *gotool.Toolchain {
	tool := found.Clone()
	tool.NoRace = "no compiler here; install one"
	return tool
}

// TestGrading_EndsWhenItsContextDoes cancels at each step that the engine
// names, and a moment after the tests have begun.
func TestGrading_EndsWhenItsContextDoes(t *testing.T) {
	for _, when := range []string{"before", "building", "running"} {
		t.Run(when, func(t *testing.T) {
			x := exhibitOf(t, "error grader.interrupted", "package x\n\nimport \"os\"\n\nfunc Double(n int) int {\n\tos.WriteFile(\"begun\", nil, 0o600)\n\tselect {}\n}\n")
			x.lesson["x_test.go"] = []byte(setsidTest)
			w := x.build(t)
			before := treeSum(t, w.root)
			c, err := candidate.Read(w.root, w.lesson)
			require.NoError(t, err)
			e := w.engine(findToolchain(t))
			g := e.Open(c, lesson.Hidden{})
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			var at time.Time
			stop := func() { at = time.Now(); cancel(errors.New("the learner saved again")) }
			events := &log{}
			switch when {
			case "before":
				stop()
			case "running":
				go func() {
					for ctx.Err() == nil {
						if found, _ := filepath.Glob(filepath.Join(w.tmp, "*", "run*", "begun")); len(found) > 0 {
							stop()
						}
						time.Sleep(time.Millisecond)
					}
				}()
			}
			v := g.Run(ctx, func(ev verdict.Event) {
				if when == "building" && ev.Type == verdict.Step {
					stop()
				}
				events.add(ev)
			})
			if took := time.Since(at); took > 3*time.Second {
				t.Errorf("ended %s after its context", took)
			}
			require.NoError(t, g.Close())
			x.judge(t, v, events)
			require.Equal(t, before, treeSum(t, w.root))
			w.spotless(t, e)
		})
	}
}

// setsidTest starts what leaves the process group, before it blocks.
const setsidTest = `package x_test

import (
	"os"
	"os/exec"
	"testing"

	x "pitstop/lessons/01_x"
)

func TestDouble(t *testing.T) {
	cmd := exec.Command("sh", "-c", "setsid sleep 300 & sleep 300 &")
	cmd.Stdout = os.Stdout
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	x.Double(4)
}
`

// TestGrading_JudgesWhatPolicyRead saves over every file of the folder, and
// adds some, after the candidate was read and while it is built.
func TestGrading_JudgesWhatPolicyRead(t *testing.T) {
	x := exhibitOf(t, "pass", rightMend)
	w := x.build(t)
	c, err := candidate.Read(w.root, w.lesson)
	require.NoError(t, err)
	e := w.engine(findToolchain(t))
	g := e.Open(c, lesson.Hidden{})
	folder := filepath.Join(w.root, "lessons", slug)
	save := func(names ...string) {
		for _, name := range names {
			require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte("package broken {\n"), 0o644))
		}
	}
	save("x.go")
	events := &log{}
	v := g.Run(t.Context(), func(ev verdict.Event) {
		if ev.Type == verdict.Step {
			save("x_test.go", "new.go", "new_test.go", "go.mod")
		}
		events.add(ev)
	})
	require.NoError(t, g.Close())
	x.judge(t, v, events)
	w.spotless(t, e)
}

// TestGrading_RepeatsAndRunsBeside grades one candidate several times, two
// gradings at once.
func TestGrading_RepeatsAndRunsBeside(t *testing.T) {
	x := exhibitOf(t, "pass", rightMend)
	w := x.build(t)
	c, err := candidate.Read(w.root, w.lesson)
	require.NoError(t, err)
	e := w.engine(findToolchain(t))
	done := make(chan error, 2)
	for range 2 {
		go func() {
			g := e.Open(c, lesson.Hidden{})
			for range 3 {
				if v := g.Run(t.Context(), func(verdict.Event) {}); v.Outcome != verdict.Pass {
					done <- fmt.Errorf("%s: %v", v.Outcome, v.Findings)
					return
				}
			}
			done <- g.Close()
		}()
	}
	require.NoError(t, <-done)
	require.NoError(t, <-done)
	w.spotless(t, e)
}

func TestReason_NamesTheNextStep(t *testing.T) {
	for _, c := range []struct {
		err        error
		code, says string
	}{
		{context.Canceled, "grader.interrupted", "interrupted"},
		{fmt.Errorf("write: %w", os.ErrPermission), "grader.error", "permission denied"},
		{&gotool.BuildError{Output: "x: no space left on device"}, "grader.disk", "free some"},
		{&gotool.BuildError{Output: "go: missing go.sum entry"}, "grader.modules", "go mod download"},
		{&gotool.BuildError{Output: "go: go.mod requires go >= 1.99"}, "grader.toolchain", "checker doctor"},
		{&gotool.BuildError{Output: "nonsense"}, "grader.build", "not in your files"},
	} {
		code, says := grade.Reason(c.err)
		if code != c.code || !strings.Contains(says, c.says) {
			t.Errorf("%v: got %s %q, want %s …%s…", c.err, code, says, c.code, c.says)
		}
	}
}
