package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pitstop/checker/candidate"
	"pitstop/checker/lesson"
)

// read judges one file of a lesson, and returns the codes with their lines.
func read(t *testing.T, l *lesson.Lesson, src string) []string {
	t.Helper()
	var codes []string
	for _, f := range Read(candidate.New(l, map[string][]byte{"x.go": []byte(src)})) {
		codes = append(codes, fmt.Sprintf("%s:%d", f.Code, f.Line))
		require.Equal(t, "lessons/01_x/x.go", f.File)
		require.NotEmpty(t, f.Message)
		require.False(t, strings.Contains(f.Message, "%!"), f.Message)
	}
	return codes
}

func lessonOf(imports ...string) *lesson.Lesson {
	return &lesson.Lesson{
		Number: 1, Slug: "01_x", Edit: []string{"x.go"}, Imports: imports,
		Files: map[string][]byte{"x.go": []byte("package x\n"), "x_test.go": []byte("package x_test\nimport \"os/exec\"\n")},
	}
}

func TestRead_FindsWhatNoMendNeeds(t *testing.T) {
	for _, c := range []struct {
		name, src string
		want      []string
	}{
		{"nothing", "package x\n", nil},
		{"exit", "package x\nimport \"os\"\nfunc f() { os.Exit(1) }", []string{"policy.exit:3"}},
		{"exit as a value", "package x\nimport \"os\"\nvar f = os.Exit", []string{"policy.exit:3"}},
		{"exit by another name", "package x\nimport o \"os\"\nfunc f() { o.Exit(1) }", []string{"policy.exit:3"}},
		{"exit by two names", "package x\nimport \"os\"\nimport o \"os\"\nvar f, g = os.Exit, o.Exit", []string{"policy.exit:4"}},
		{"exit in a literal", "package x\nimport \"os\"\nvar f = []func(int){os.Exit}", []string{"policy.exit:3"}},
		{"exit deferred", "package x\nimport \"os\"\nfunc f() {\n\tdefer os.Exit(0)\n}", []string{"policy.exit:4"}},
		{"dot import", "package x\nimport . \"os\"\nfunc f() { Exit(1) }", []string{"policy.dot_import:2"}},
		{"dot import of anything", "package x\nimport . \"strings\"\nvar s = ToUpper(\"a\")", []string{"policy.dot_import:2"}},
		{"another process", "package x\nimport \"os\"\nvar f = os.StartProcess", []string{"policy.exit:3"}},
		{"the command line", "package x\nimport \"os\"\nfunc init() { os.Args = nil }", []string{"policy.exit:3"}},
		{"breakpoint", "package x\nimport \"runtime\"\nfunc f() { runtime.Breakpoint() }", []string{"policy.exit:3"}},
		{"stdout assigned", "package x\nimport \"os\"\nfunc init() { os.Stdout = nil }", []string{"policy.exit:3"}},
		{"stdout assigned in a list", "package x\nimport \"os\"\nfunc init() { _, os.Stdout, _ = os.Pipe() }", []string{"policy.exit:3"}},
		{"stdout pointed at", "package x\nimport \"os\"\nvar p = &os.Stdout", []string{"policy.exit:3"}},
		{"the file behind stdout assigned", "package x\nimport \"os\"\nfunc init() { *os.Stdout = os.File{} }", []string{"policy.exit:3"}},
		{"stderr closed", "package x\nimport \"os\"\nfunc init() { os.Stderr.Close() }", []string{"policy.exit:3"}},
		{"stderr ranged over", "package x\nimport \"os\"\nfunc init() {\n\tfor _, os.Stderr = range []*os.File{nil} {\n\t}\n}", []string{"policy.exit:4"}},
		{"unsafe", "package x\nimport \"unsafe\"\nvar p unsafe.Pointer", []string{"policy.import:2"}},
		{"blank unsafe and linkname", "package x\nimport _ \"unsafe\"\n//go:linkname f os.f\nfunc f()", []string{"policy.import:2", "policy.directive:3"}},
		{"cgo", "package x\n// int f();\nimport \"C\"\nvar f = C.f", []string{"policy.import:3"}},
		{"os/exec", "package x\nimport \"os/exec\"\nvar f = exec.Command", []string{"policy.import:2"}},
		{"syscall", "package x\nimport \"syscall\"\nvar s = syscall.SIGTERM", []string{"policy.import:2"}},
		{"testing", "package x\nimport \"testing\"\nvar t *testing.T", []string{"policy.import:2"}},
		{"below testing", "package x\nimport \"testing/synctest\"\nvar f = synctest.Wait", []string{"policy.import:2"}},
		{"flag", "package x\nimport \"flag\"\nvar f = flag.Parse", []string{"policy.import:2"}},
		{"plugin", "package x\nimport \"plugin\"\nvar f = plugin.Open", []string{"policy.import:2"}},
		{"another module", "package x\nimport \"example.com/m\"\nvar f = m.F", []string{"policy.import:2"}},
		{"this module", "package x\nimport \"pitstop/lessons/02_y\"\nvar f = y.F", []string{"policy.import:2"}},
		{"build line", "//go:build ignore\n\npackage x\n", []string{"policy.directive:1"}},
		{"old build line", "// +build ignore\n\npackage x\n", []string{"policy.directive:1"}},
		{"norace", "package x\n\n//go:norace\nfunc f() {}", []string{"policy.directive:3"}},
		{"godebug", "//go:debug panicnil=1\npackage x\n", []string{"policy.directive:1"}},
		{"empty", " \n", []string{"build.compile:0"}},
		{"another package", "package y\n", []string{"build.compile:1"}},
		{"no Go", "package x\n\nfunc {\n", []string{"build.compile:3"}},
		{"no text", "package x\n\n// \xff\n", []string{"build.compile:3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := read(t, lessonOf(), c.src); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestRead_RaisesNoFalseAlarm(t *testing.T) {
	for name, src := range map[string]string{
		"a variable named os":              "package x\ntype system struct{}\nfunc (system) Exit(int) {}\nfunc f() { var os system; os.Exit(1) }",
		"a variable that hides the import": "package x\nimport \"os\"\ntype system struct{ Args []string; Stdout *int }\nfunc (system) Exit(int) {}\nfunc f() {\n\t_ = os.Getpid()\n\tos := system{}\n\tos.Exit(1)\n\tos.Args = nil\n\tos.Stdout = nil\n}",
		"a parameter that hides it":        "package x\nimport \"os\"\nvar pid = os.Getpid\nfunc f(os interface{ Exit(int) }) { os.Exit(1) }",
		"a method called Exit":             "package x\ntype door struct{}\nfunc (door) Exit() {}\nfunc f(d door) { d.Exit() }",
		"a field called Stdout":            "package x\ntype cmd struct{ Stdout, Stderr *int }\nfunc f(c *cmd) { c.Stdout = nil; _ = &c.Stderr }",
		"printing":                         "package x\nimport (\n\t\"fmt\"\n\t\"os\"\n)\nfunc f() { fmt.Fprintln(os.Stderr, os.Stdout.Name()) }",
		"reading a file":                   "package x\nimport \"os\"\nfunc f() { h, _ := os.Open(\"f\"); h.Close() }",
		"a package that ends in os":        "package x\nimport \"runtime/metrics\"\nvar f = metrics.All",
		"the word in a string":             "package x\nconst s = \"os.Exit(1) //go:build ignore\"",
		"the word in a comment":            "package x\n\n// A line as //go:build ignore, or os.Exit(1), hides the file.\nvar x int",
		"noinline and generate":            "package x\n\n//go:generate true\n\n//go:noinline\nfunc f() {}",
		"a version in a path":              "package x\nimport \"math/rand/v2\"\nvar f = rand.IntN",
		"byte order mark and CRLF":         "\ufeffpackage x\r\n\r\nvar x int\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			require.Empty(t, read(t, lessonOf(), src))
		})
	}
}

func TestRead_AllowsWhatTheLessonNames(t *testing.T) {
	group := "package x\nimport \"golang.org/x/sync/errgroup\"\nvar g errgroup.Group"
	require.Empty(t, read(t, lessonOf("golang.org/x/sync"), group))
	require.NotEmpty(t, read(t, lessonOf("golang.org/x/syn"), group), "a prefix of a name is another name")
	got := Read(candidate.New(lessonOf("golang.org/x/net"), map[string][]byte{"x.go": []byte(group)}))
	require.Equal(t, "x.go imports golang.org/x/sync/errgroup; this lesson allows the standard library and golang.org/x/net", got[0].Message)

	signals := "package x\nimport \"syscall\"\nvar s = syscall.SIGTERM\n"
	require.Empty(t, read(t, lessonOf("syscall"), signals))
	require.Equal(t, []string{"policy.import:4"}, read(t, lessonOf("syscall"), signals+"var f = syscall.Exit"))
}

func TestRead_AllowsWhatTheLessonDoesItself(t *testing.T) {
	l := lessonOf()
	l.Files["x.go"] = []byte("package x\nimport (\n\t\"flag\"\n\t\"os\"\n)\nfunc f() { flag.Parse(); _ = os.Args }")
	require.Empty(t, read(t, l, string(l.Files["x.go"])))
	require.Equal(t, []string{"policy.exit:3"}, read(t, l, "package x\nimport \"os\"\nvar f = os.Exit"))
	require.Equal(t, []string{"policy.import:2"}, read(t, l, "package x\nimport \"os/exec\"\nvar f = exec.Command"), "what the tests import is theirs")
}

func TestRead_ReadsEveryFileOfTheMend(t *testing.T) {
	got := Read(candidate.New(lessonOf(), map[string][]byte{
		"b.go": []byte("package x\nimport \"os\"\nvar f = os.Exit"), "a.go": []byte("package y"), "deploy/a.yaml": []byte("os.Exit"),
	}))
	require.Len(t, got, 2)
	require.Equal(t, "lessons/01_x/a.go", got[0].File)
	require.Equal(t, "policy.exit", got[1].Code)
}
