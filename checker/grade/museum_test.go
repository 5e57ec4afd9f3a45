//go:build unix

package grade_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pitstop/checker/candidate"
	"pitstop/checker/check"
	"pitstop/checker/check/gotest"
	"pitstop/checker/gotool"
	"pitstop/checker/grade"
	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

// patience is the longest that any accident may take, builds included.
const patience = 30 * time.Second

// TestMain gives all temporary files of this process, and of what it starts,
// one folder, so that an exhibit can see what is left behind.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "museum-")
	if err != nil {
		panic(err)
	}
	os.Setenv("TMPDIR", dir)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// toolchain is one for all, so that its first build warms the others.
var toolchain = sync.OnceValues(func() (*gotool.Toolchain, error) {
	return gotool.Find(context.Background(), ".")
})

var warm sync.Once

// findToolchain returns it warm: the first build on a machine compiles the
// standard library, and that is no exhibit's time.
func findToolchain(t *testing.T) *gotool.Toolchain {
	t.Helper()
	tool, err := toolchain()
	require.NoError(t, err)
	warm.Do(func() {
		x := readExhibit(t, "testdata/museum/mended.txtar")
		x.profiles = "race, perf"
		w := x.build(t)
		g := w.engine(tool).Open(candidate.New(w.lesson, w.lesson.Unsolve()), lesson.Hidden{})
		g.Run(context.Background(), func(verdict.Event) {})
		require.NoError(t, g.Close())
	})
	return tool
}

// TestMuseum_Exhibits grades every accident of testdata/museum, two at once.
func TestMuseum_Exhibits(t *testing.T) {
	names, err := filepath.Glob("testdata/museum/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	slots := make(chan struct{}, 2)
	for _, name := range names {
		base := strings.TrimSuffix(filepath.Base(name), ".txtar")
		if strings.HasPrefix(base, "_") {
			continue
		}
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			x := readExhibit(t, name)
			x.show(t, findToolchain(t))
		})
	}
}

// show makes the exhibit's workshop, grades it, and holds the engine to what
// the exhibit expects and to what every exhibit must leave.
func (x *exhibit) show(t *testing.T, tool *gotool.Toolchain) {
	t.Helper()
	if slices.Contains(x.needs, "race") && tool.NoRace != "" {
		t.Skip(tool.NoRace)
	}
	if slices.Contains(x.needs, "user") && os.Geteuid() == 0 {
		t.Skip("root reads everything")
	}
	w := x.build(t)
	before := treeSum(t, w.root)
	e := w.engine(tool)
	c, err := candidate.Read(w.root, w.lesson)
	require.NoError(t, err)
	g := e.Open(c, lesson.Hidden{Review: x.review})
	events := &log{}
	start := time.Now()
	v := g.Run(t.Context(), events.add)
	took := time.Since(start)
	require.NoError(t, g.Close())

	x.judge(t, v, events)
	if took > patience {
		t.Errorf("took %s; every accident must end within %s", took, patience)
	}
	if after := treeSum(t, w.root); after != before {
		t.Errorf("the learner's folder was changed:\nbefore\n%s\nafter\n%s", before, after)
	}
	w.spotless(t, e)
}

// engine is one for this workshop, with nothing of the rest of the tree.
func (w *workshop) engine(tool *gotool.Toolchain) *grade.Engine {
	return &grade.Engine{Root: w.root, Tmp: w.tmp, Tool: tool, Kinds: check.Kinds{"test": gotest.Kind{}}, Base: w.base}
}

// spotless sees that nothing is left: no process that stands in the
// workshop's folders or has one of them in its environment, and no file.
func (w *workshop) spotless(t *testing.T, e *grade.Engine) {
	t.Helper()
	if left := lingering(w.dir); len(left) > 0 {
		t.Errorf("processes are left: %s", strings.Join(left, "; "))
	}
	entries, err := os.ReadDir(e.Tmp)
	require.NoError(t, err)
	for _, entry := range entries {
		t.Errorf("%s is left in the engine's folder", entry.Name())
	}
	entries, err = os.ReadDir(os.TempDir())
	require.NoError(t, err)
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), "Test") { // t.TempDir's own
			t.Errorf("%s is left in TMPDIR", entry.Name())
		}
	}
}

// lingering lists the processes that belong to dir, on Linux.
func lingering(dir string) []string {
	procs, _ := filepath.Glob("/proc/[0-9]*")
	var list []string
	for _, p := range procs {
		cwd, _ := os.Readlink(filepath.Join(p, "cwd"))
		env, _ := os.ReadFile(filepath.Join(p, "environ"))
		line, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		if len(line) == 0 {
			continue // a zombie
		}
		if strings.HasPrefix(cwd, dir) || strings.Contains(string(env), dir) || strings.Contains(string(line), dir) {
			list = append(list, filepath.Base(p)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return list
}

// log keeps what the engine says.
type log struct {
	mu     sync.Mutex
	events []verdict.Event
}

func (l *log) add(e verdict.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *log) messages(of verdict.Type) []string {
	var list []string
	for _, e := range l.events {
		if e.Type == of {
			list = append(list, e.Message)
		}
	}
	return list
}
