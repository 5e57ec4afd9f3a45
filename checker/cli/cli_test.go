package cli

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/tools/txtar"

	"pitstop/checker/lesson"
	"pitstop/solutions"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"checker": func() {
			os.Exit(Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// TestScripts runs the command line as a person would, each script in a
// workshop of its own that is made from the pristine copy.
func TestScripts(t *testing.T) {
	env := func(k string) string { return k + "=" + goEnv(t, k) }
	goenv := []string{env("GOCACHE"), env("GOMODCACHE"), env("GOPATH"), env("GOPROXY"), env("GOSUMDB"), env("GOFLAGS")}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, goenv...)
			e.Vars = append(e.Vars, "TERM=dumb")
			return makeWorkshop(filepath.Join(e.WorkDir, "w"))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"solve":  solve,
			"status": exitStatus,
			"checkeronly": func(ts *testscript.TestScript, neg bool, args []string) {
				for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
					if _, err := os.Stat(filepath.Join(dir, "checker")); err == nil {
						ts.Setenv("PATH", dir)
						return
					}
				}
				ts.Fatalf("no checker on PATH")
			},
		},
		Deadline: time.Now().Add(4 * time.Minute),
	})
}

func makeWorkshop(root string) error {
	archive, err := fs.ReadFile(solutions.Tree(), lesson.PristineFile)
	if err != nil {
		return err
	}
	for _, f := range txtar.Parse(archive).Files {
		if err := write(filepath.Join(root, filepath.FromSlash(f.Name)), f.Data); err != nil {
			return err
		}
	}
	return write(filepath.Join(root, filepath.FromSlash(lesson.PristineFile)), archive)
}

func write(name string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o644)
}

// solve LESSON lays the reference mend over a lesson of the script's workshop.
func solve(ts *testscript.TestScript, neg bool, args []string) {
	p, err := lesson.ParsePristine(must(fs.ReadFile(solutions.Tree(), lesson.PristineFile)))
	ts.Check(err)
	l, err := lesson.Find(p.Lessons, args[0])
	ts.Check(err)
	s, err := lesson.LoadSolution(solutions.Tree(), l)
	ts.Check(err)
	for name := range l.Unsolve() {
		ts.Check(os.Remove(ts.MkAbs(filepath.Join(l.Folder(), name))))
	}
	for name, b := range s.Reference {
		ts.Check(write(ts.MkAbs(filepath.Join(l.Folder(), name)), b))
	}
}

// exitStatus is the command status: status N COMMAND… runs a command that must end with exit status N.
func exitStatus(ts *testscript.TestScript, neg bool, args []string) {
	want := args[0]
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != want {
		ts.Fatalf("%s ended with %s, want status %s", strings.Join(args[1:], " "), got, want)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// goEnv asks the go command, because scripts run with another HOME.
func goEnv(t *testing.T, key string) string {
	out, err := exec.Command("go", "env", key).Output()
	if err != nil {
		t.Fatalf("go env %s: %v", key, err)
	}
	return strings.TrimSpace(string(out))
}
