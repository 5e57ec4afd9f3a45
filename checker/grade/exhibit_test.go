//go:build unix

package grade_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

// exhibit is one accident, as testdata/museum/README.md describes its form.
type exhibit struct {
	name     string
	lesson   map[string][]byte // laid over the lesson of _lesson.txtar
	learner  map[string][]byte // then written by the learner
	root     map[string][]byte // written at the workshop's root
	review   []byte
	ops      [][]string
	needs    []string
	profiles string
	with     string

	outcome  verdict.Outcome
	codes    []string
	says     []string // each a part of some finding's message
	never    []string // none of them a part of any message or warning
	at       []string // file:line of some finding
	tests    []string // the test of some finding
	stage    verdict.Stage
	warns    []string // each a part of some warning
	warnings int      // how many there are; -1: not asked
	evidence []string // name=value
	detail   []string // each a part of some finding's detail
}

func readExhibit(t *testing.T, name string) *exhibit {
	t.Helper()
	base, err := txtar.ParseFile("testdata/museum/_lesson.txtar")
	require.NoError(t, err)
	ar, err := txtar.ParseFile(name)
	require.NoError(t, err)
	x := &exhibit{
		name: name, lesson: map[string][]byte{}, learner: map[string][]byte{}, root: map[string][]byte{},
		profiles: "perf", with: "seconds: 5", warnings: -1,
	}
	for _, f := range base.Files {
		x.lesson[f.Name] = f.Data
	}
	for _, f := range ar.Files {
		folder, rest, _ := strings.Cut(f.Name, "/")
		switch {
		case folder == "learner":
			x.learner[rest] = f.Data
		case folder == "root":
			x.root[rest] = f.Data
		case f.Name == lesson.ReviewTest:
			x.review = f.Data
		default:
			x.lesson[f.Name] = f.Data
		}
	}
	for line := range strings.Lines(string(ar.Comment)) {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' {
			x.directive(t, line)
		}
	}
	require.NotEmpty(t, x.outcome, "%s: no want", name)
	return x
}

func (x *exhibit) directive(t *testing.T, line string) {
	t.Helper()
	key, value, _ := strings.Cut(line, ":")
	value = strings.TrimSpace(value)
	switch key {
	case "want":
		f := strings.Fields(value)
		x.outcome, x.codes = verdict.Outcome(f[0]), f[1:]
	case "op":
		x.ops = append(x.ops, strings.Fields(value))
	case "needs":
		x.needs = strings.Fields(value)
	case "profiles":
		x.profiles = value
		if strings.Contains(value, "race") {
			x.needs = append(x.needs, "race")
		}
	case "with":
		x.with = value
	case "says":
		x.says = append(x.says, value)
	case "never":
		x.never = append(x.never, value)
	case "at":
		x.at = append(x.at, value)
	case "test":
		x.tests = append(x.tests, value)
	case "stage":
		x.stage = verdict.Stage(value)
	case "warns":
		x.warns = append(x.warns, value)
	case "warnings":
		n, err := strconv.Atoi(value)
		require.NoError(t, err)
		x.warnings = n
	case "evidence":
		x.evidence = append(x.evidence, value)
	case "detail":
		x.detail = append(x.detail, value)
	default:
		t.Fatalf("%s: unknown key in %q", x.name, line)
	}
}

// judge compares a verdict with what the exhibit expects.
func (x *exhibit) judge(t *testing.T, v verdict.Verdict, events *log) {
	t.Helper()
	var codes []string
	for _, f := range v.Findings {
		codes = append(codes, f.Code)
		t.Logf("%s %s %s:%d %s: %s", v.Outcome, f.Stage, f.File, f.Line, f.Code, f.Message)
		if n := len([]rune(f.Message)); n > 1000 {
			t.Errorf("a message of %d characters is no sentence", n)
		}
	}
	warnings := events.messages(verdict.Warning)
	for _, w := range warnings {
		t.Logf("warning: %s", w)
	}
	slices.Sort(codes)
	if v.Outcome != x.outcome || !slices.Equal(slices.Compact(codes), slices.Sorted(slices.Values(x.codes))) {
		t.Errorf("got %s %v, want %s %v", v.Outcome, codes, x.outcome, x.codes)
	}
	last := events.events[len(events.events)-1]
	if events.events[0].Type != verdict.Start || last.Type != verdict.Graded {
		t.Errorf("the events begin with %s and end with %s", events.events[0].Type, last.Type)
	}
	some := func(what string, want []string, of func(verdict.Finding) string, holds func(got, want string) bool) {
		for _, w := range want {
			if !slices.ContainsFunc(v.Findings, func(f verdict.Finding) bool { return holds(of(f), w) }) {
				t.Errorf("no finding has the %s %q", what, w)
			}
		}
	}
	equal := func(got, want string) bool { return got == want }
	some("message", x.says, func(f verdict.Finding) string { return f.Message }, strings.Contains)
	some("detail", x.detail, func(f verdict.Finding) string { return f.Detail }, strings.Contains)
	some("test", x.tests, func(f verdict.Finding) string { return f.Test }, equal)
	some("place", x.at, func(f verdict.Finding) string { return fmt.Sprintf("%s:%d", f.File, f.Line) }, strings.HasSuffix)
	for _, f := range v.Findings {
		if x.stage != "" && f.Stage != x.stage {
			t.Errorf("%s comes from the stage %s, want %s", f.Code, f.Stage, x.stage)
		}
		for _, never := range x.never {
			if strings.Contains(f.Message, never) {
				t.Errorf("a message holds %q: %s", never, f.Message)
			}
		}
	}
	for _, w := range x.warns {
		if !slices.ContainsFunc(warnings, func(got string) bool { return strings.Contains(got, w) }) {
			t.Errorf("no warning holds %q", w)
		}
	}
	if x.warnings >= 0 && len(warnings) != x.warnings {
		t.Errorf("got %d warnings, want %d", len(warnings), x.warnings)
	}
	var figures []string
	for _, e := range v.Evidence {
		figures = append(figures, fmt.Sprintf("%s=%g", e.Name, e.Now))
	}
	for _, w := range x.evidence {
		if !slices.Contains(figures, w) {
			t.Errorf("no evidence %s among %v", w, figures)
		}
	}
	if t.Failed() {
		for _, f := range v.Findings {
			t.Logf("detail of %s:\n%.3000s", f.Code, f.Detail)
		}
	}
}

// workshop is a tiny one, with a go.mod and one lesson.
type workshop struct {
	dir    string // everything of this exhibit
	root   string
	tmp    string // the engine's
	lesson *lesson.Lesson
	base   map[string][]byte
}

const slug = "01_x"

// build makes the exhibit's workshop and lets the learner loose in it.
func (x *exhibit) build(t *testing.T) *workshop {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	w := &workshop{dir: dir, root: filepath.Join(dir, "workshop"), tmp: filepath.Join(dir, "tmp")}
	require.NoError(t, os.MkdirAll(w.tmp, 0o755))
	w.base = map[string][]byte{"go.mod": []byte("module pitstop\n\ngo 1.26.0\n")}
	folder := filepath.Join(w.root, "lessons", slug)
	write(t, w.root, w.base)
	write(t, folder, x.lesson)
	meta := filepath.Join(folder, lesson.Meta)
	text := strings.NewReplacer("PROFILES", x.profiles, "WITH", x.with).Replace(string(x.lesson[lesson.Meta]))
	require.NoError(t, os.WriteFile(meta, []byte(text), 0o644))
	all, err := lesson.Load(os.DirFS(w.root))
	require.NoError(t, err)
	w.lesson = all[0]
	write(t, folder, x.learner)
	write(t, w.root, x.root)
	for _, op := range x.ops {
		w.operate(t, folder, op)
	}
	return w
}

// operate does what a file in an archive cannot say.
func (w *workshop) operate(t *testing.T, folder string, op []string) {
	t.Helper()
	p := filepath.Join(folder, op[1])
	content := func() []byte {
		b, err := os.ReadFile(p)
		require.NoError(t, err)
		return b
	}
	put := func(b []byte) { require.NoError(t, os.WriteFile(p, b, 0o644)) }
	switch op[0] {
	case "delete":
		require.NoError(t, os.RemoveAll(p))
	case "move": // elsewhere, and a link in its place
		elsewhere := filepath.Join(w.dir, "elsewhere")
		require.NoError(t, os.Rename(p, elsewhere))
		require.NoError(t, os.Symlink(elsewhere, p))
	case "link":
		require.NoError(t, os.RemoveAll(p))
		require.NoError(t, os.Symlink(op[2], p))
	case "fifo":
		require.NoError(t, os.RemoveAll(p))
		require.NoError(t, syscall.Mkfifo(p, 0o644))
	case "folder":
		require.NoError(t, os.RemoveAll(p))
		write(t, p, map[string][]byte{"inner.txt": []byte("inner\n")})
	case "chmod":
		mode, err := strconv.ParseUint(op[2], 8, 32)
		require.NoError(t, err)
		require.NoError(t, os.Chmod(p, fs.FileMode(mode)))
		t.Cleanup(func() { _ = os.Chmod(p, 0o755) })
	case "crlf":
		put([]byte(strings.ReplaceAll(string(content()), "\n", "\r\n")))
	case "bom":
		put(append([]byte("\ufeff"), content()...))
	case "size":
		n, err := strconv.ParseInt(op[2], 10, 64)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(p, n))
	case "bytes": // a Go string literal takes the place of the word BYTES
		s, err := strconv.Unquote(`"` + op[2] + `"`)
		require.NoError(t, err)
		put([]byte(strings.ReplaceAll(string(content()), "BYTES", s)))
	default:
		t.Fatalf("unknown op %q", op)
	}
}

func write(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, b := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		require.NoError(t, os.WriteFile(p, b, 0o644))
	}
}

// treeSum describes everything below dir, a line a file: mode, time of the
// last change, and content.
func treeSum(t *testing.T, dir string) string {
	t.Helper()
	var lines strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) {
			return fs.SkipDir
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		fmt.Fprintf(&lines, "%s %s %d", rel, info.Mode(), info.ModTime().UnixNano())
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(p)
			fmt.Fprintf(&lines, " %s", to)
		case info.Mode().IsRegular() && info.Size() < 1<<20:
			b, err := os.ReadFile(p)
			if err == nil {
				fmt.Fprintf(&lines, " %x", sha256.Sum256(b))
			}
		}
		lines.WriteString("\n")
		return nil
	})
	require.NoError(t, err)
	return lines.String()
}
