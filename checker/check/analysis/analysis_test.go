package analysis

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/analysistest"

	"pitstop/checker/candidate"
	"pitstop/checker/check"
	"pitstop/checker/gotool"
	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

func TestEarlyCancel(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), earlyCancel, "earlycancel")
}

func instance(t *testing.T, with string) lesson.Check {
	t.Helper()
	c := lesson.Check{Kind: "analysis"}
	if with != "" {
		var doc yaml.Node
		require.NoError(t, yaml.Unmarshal([]byte(with), &doc))
		c.With = *doc.Content[0]
	}
	return c
}

func TestValidate_NamesWhatIsWrong(t *testing.T) {
	require.NoError(t, Kind{}.Validate(instance(t, "analyzers: ["+strings.Join(names(), ", ")+"]")))
	for name, c := range map[string]struct{ with, want string }{
		"nothing":             {"", "name the ones that must be silent"},
		"an empty list":       {"analyzers: []", "name the ones that must be silent"},
		"an unknown analyzer": {"analyzers: [bodyclose, deadcode]", `unknown analyzer "deadcode" (known: SA1012, `},
		"one twice":           {"analyzers: [noctx, noctx]", "noctx is named twice"},
		"an unknown key":      {"linters: [noctx]", "field linters not found"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, Kind{}.Validate(instance(t, c.with)), c.want)
		})
	}
	c := instance(t, "analyzers: [noctx]")
	c.Profiles = []string{"race"}
	require.ErrorContains(t, Kind{}.Validate(c), "profiles")
}

const shipped = "package geo\n"

// workshop is a module with one lesson, lessons/01_geo, on disk.
func workshop(t *testing.T) (root string, l *lesson.Lesson) {
	t.Helper()
	root = t.TempDir()
	l = &lesson.Lesson{Slug: "01_geo", Edit: []string{"geo.go"}, Files: map[string][]byte{
		"geo.go":      []byte(shipped),
		"geo_test.go": []byte("package geo_test\n\nthis is not Go, and not read\n"),
		"fixed.go":    []byte("package geo\n\nfunc fails() error { return nil }\n"),
	}}
	for name, b := range map[string][]byte{
		"go.mod": []byte("module pitstop\n\ngo 1.26\n"), "lessons/01_geo/geo.go": l.Files["geo.go"], "lessons/01_geo/fixed.go": l.Files["fixed.go"],
		"lessons/01_geo/stray.go": []byte("package geo\n\nfunc stray() { fails() }\n"), // came while this was graded
	} {
		file := filepath.Join(root, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, b, 0o644))
	}
	return root, l
}

func grade(t *testing.T, analyzers []string, files map[string]string) (check.Result, error) {
	t.Helper()
	root, l := workshop(t)
	tool, err := gotool.Find(t.Context(), root)
	require.NoError(t, err)
	edited := map[string][]byte{}
	for name, text := range files {
		edited[name] = []byte(text)
	}
	env := &check.Env{Root: root, Tmp: t.TempDir(), Candidate: candidate.New(l, edited), Tool: tool, Step: func(string, ...any) {}}
	return Kind{}.Run(t.Context(), env, instance(t, "analyzers: ["+strings.Join(analyzers, ", ")+"]"))
}

// said lists findings as code file:line.
func said(found []verdict.Finding) []string {
	list := []string{}
	for _, f := range found {
		list = append(list, fmt.Sprintf("%s %s:%d", f.Code, strings.TrimPrefix(f.File, "lessons/01_geo/"), f.Line))
	}
	return list
}

const head = "package geo\n\nimport (\n\t\"context\"\n\t\"encoding/json\"\n\t\"errors\"\n\t\"io\"\n\t\"net/http\"\n\t\"os\"\n\t\"sync\"\n\t\"time\"\n)\n\n" +
	"var (\n\t_ = context.Background\n\t_ = json.Marshal\n\t_ = errors.New\n\t_ = io.Copy\n\t_ http.Header\n\t_ = os.Open\n\t_ sync.Mutex\n\t_ time.Time\n)\n"

// body is a file with one more function, and wants are relative to it: line 1
// is the first of the function.
var first = strings.Count(head, "\n")

func TestRun_FindsWhatEachAnalyzerIsFor(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string // code, and the line within text
	}{
		{"a body that stays open", "func f(c *http.Client, r *http.Request) (int, error) {\n\tresp, err := c.Do(r)\n\tif err != nil {\n\t\treturn 0, err\n\t}\n\treturn resp.StatusCode, nil\n}\n", []string{"bodyclose 2"}},
		{"a body that is closed", "func f(c *http.Client, r *http.Request) (int, error) {\n\tresp, err := c.Do(r)\n\tif err != nil {\n\t\treturn 0, err\n\t}\n\tdefer resp.Body.Close()\n\treturn resp.StatusCode, nil\n}\n", nil},
		{"a body that is drained", "func f(c *http.Client, r *http.Request) (int, error) {\n\tresp, err := c.Do(r)\n\tif err != nil {\n\t\treturn 0, err\n\t}\n\tdefer func() {\n\t\t_, _ = io.Copy(io.Discard, resp.Body)\n\t\t_ = resp.Body.Close()\n\t}()\n\tio.CopyN(io.Discard, resp.Body, 9)\n\treturn resp.StatusCode, nil\n}\n", nil},
		{"a body that a function closes", "func f(c *http.Client, r *http.Request) (int, error) {\n\tresp, err := c.Do(r)\n\tif err != nil {\n\t\treturn 0, err\n\t}\n\tdefer g(resp.Body)\n\treturn resp.StatusCode, nil\n}\n\nfunc g(b io.ReadCloser) {\n\t_ = b.Close()\n}\n", nil},
		{"a body that a function only reads", "func f(c *http.Client, r *http.Request) (int, error) {\n\tresp, err := c.Do(r)\n\tif err != nil {\n\t\treturn 0, err\n\t}\n\tdefer g(resp.Body)\n\treturn resp.StatusCode, nil\n}\n\nfunc g(b io.ReadCloser) {\n\t_, _ = io.Copy(io.Discard, b)\n}\n", []string{"bodyclose 2"}},
		{"a response read too early", "func f(c *http.Client, r *http.Request) error {\n\tresp, err := c.Do(r)\n\tdefer resp.Body.Close()\n\treturn err\n}\n", []string{"SA5001 3", "httpresponse 3"}},
		{"a request without context", "func f() (*http.Request, error) {\n\treturn http.NewRequest(\"GET\", \"/\", nil)\n}\n", []string{"noctx 2"}},
		{"nil for a context", "func f() (*http.Request, error) {\n\treturn http.NewRequestWithContext(nil, \"GET\", \"/\", nil)\n}\n", []string{"SA1012 2"}},
		{"a cancel thrown away", "func f(ctx context.Context) context.Context {\n\tctx, _ = context.WithTimeout(ctx, time.Second)\n\treturn ctx\n}\n", []string{"lostcancel 2"}},
		{"a cancel on some ways out", "func f(ctx context.Context, b bool) {\n\tctx, cancel := context.WithCancel(ctx)\n\tif b {\n\t\treturn\n\t}\n\tcancel()\n\t<-ctx.Done()\n}\n", []string{"lostcancel 2", "lostcancel 4"}},
		{"a cancel too early", "func f(ctx context.Context) {\n\tctx, cancel := context.WithCancel(ctx)\n\tdefer cancel()\n\tgo func() { <-ctx.Done() }()\n}\n", []string{"earlycancel 3"}},
		{"a lock copied", "type counts struct{ sync.Mutex }\n\nfunc f(c *counts) counts {\n\treturn *c\n}\n", []string{"copylocks 4"}},
		{"an error unasked", "func f() {\n\tfails()\n}\n", []string{"errcheck 2"}},
		{"an error to the blank", "func f(b []byte) (v any) {\n\t_ = json.Unmarshal(b, &v)\n\treturn v\n}\n", []string{"errcheck 2"}},
		{"the Close of what was written", "func f(w *os.File) {\n\tdefer w.Close()\n}\n", []string{"errcheck 2"}},
		{"a copy that is not a drain", "func f(w io.Writer, r io.Reader) {\n\tio.Copy(w, r)\n}\n", []string{"errcheck 2"}},
		{"an err below another", "func f(b bool) error {\n\tvar err error\n\tif b {\n\t\terr := fails()\n\t\tprintln(err)\n\t}\n\treturn err\n}\n", []string{"shadow 4"}},
		{"an err made of another", "func f(err error) error {\n\tif err != nil {\n\t\terr := errors.Join(err, fails())\n\t\tprintln(err)\n\t}\n\treturn err\n}\n", []string{"shadow 3"}},
		{"a context made of another", "func f(ctx context.Context, b bool) error {\n\tif b {\n\t\tctx, cancel := context.WithCancel(ctx)\n\t\tdefer cancel()\n\t\t<-ctx.Done()\n\t}\n\treturn ctx.Err()\n}\n", nil},
		{"a value that nobody reads", "func f() error {\n\terr := fails()\n\terr = fails()\n\treturn err\n}\n", []string{"SA4006 2"}},
		{"nolint", "func f() {\n\tfails() //nolint:errcheck\n}\n", []string{"silenced 2", "errcheck 2"}},
		{"lint:ignore", "func f() {\n\t//lint:ignore SA4006 why\n\tprintln(1)\n}\n", []string{"silenced 2"}},
		{"handled", "//bodyclose:handled\nfunc f() {}\n", []string{"silenced 1"}},
		{"words about nolint", "// f needs no nolint comment.\nfunc f() {}\n", nil},
		{"line numbers of another file", "//line other.go:1\nfunc f() {\n\tfails()\n}\n", []string{"silenced 1", "errcheck 3"}},
		{"generated", "// Code generated by hand. DO NOT EDIT.\n\nfunc f() error {\n\terr := fails()\n\terr = fails()\n\treturn err\n}\n", []string{"silenced 1", "SA4006 4"}},
		{"a blank use of an error", "func f() {\n\terr := fails()\n\t_ = err\n}\n", []string{"silenced 3"}},
		{"a blank use of a cancel", "func f(ctx context.Context) context.Context {\n\tctx, cancel := context.WithCancel(ctx)\n\t_ = cancel\n\treturn ctx\n}\n", []string{"silenced 3"}},
		{"a blank use of a number", "func f(n int) {\n\t_ = n\n}\n", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			res, err := grade(t, names(), map[string]string{"geo.go": head + c.text})
			require.NoError(t, err)
			want := []string{}
			for _, w := range c.want {
				var code string
				var line int
				_, err := fmt.Sscan(w, &code, &line)
				require.NoError(t, err)
				want = append(want, fmt.Sprintf("analysis.%s geo.go:%d", code, first+line))
			}
			require.ElementsMatch(t, want, said(res.Findings))
			require.Len(t, res.Evidence, 1)
			require.Equal(t, float64(len(want)), res.Evidence[0].Now)
			for _, f := range res.Findings {
				require.Equal(t, verdict.StageVisible, f.Stage)
				require.NotContains(t, f.Message, nowhere)
			}
		})
	}
}

func TestRun_RunsOnlyWhatWasNamed(t *testing.T) {
	res, err := grade(t, []string{"noctx"}, map[string]string{"geo.go": "package geo\n\nfunc f() { fails() }\n"})
	require.NoError(t, err)
	require.Empty(t, res.Findings)
	require.Equal(t, "findings of 1 analyzers", res.Evidence[0].Name)
}

func TestRun_ReadsEveryFileThatIsBuilt(t *testing.T) {
	const bad = "package geo\n\nfunc more() { fails() }\n"
	res, err := grade(t, []string{"errcheck"}, map[string]string{
		"geo.go": shipped, "more.go": bad, "more_windows.go": strings.ReplaceAll(bad, "more", "less"),
		"tagged.go": "//go:build never\n\n" + strings.ReplaceAll(bad, "more", "never"),
	})
	require.NoError(t, err)
	require.Equal(t, []string{"analysis.errcheck more.go:3"}, said(res.Findings), "files of another system are not built, and the stray file of the folder is not the candidate's")
}

func TestRun_DoesNotCompile(t *testing.T) {
	for _, c := range []struct {
		name string
		text string
		want []string
		says string
	}{
		{"a name nobody declared", "package geo\n\nfunc f() { g() }\n", []string{"build.compile geo.go:3"}, "geo.go does not compile: line 3: undefined: g"},
		{"no Go", "package geo\n\nfunc {\n", []string{"build.compile geo.go:3"}, "line 3: expected"},
		{"an import of nothing", "package geo\n\nimport _ \"net/htp\"\n", []string{"build.compile geo.go:3"}, "net/htp"},
		{"many errors", "package geo\n\nvar a, b, c, d = w, x, y, z\n", []string{"build.compile geo.go:3", "build.compile geo.go:3", "build.compile geo.go:3"}, "undefined: w"},
		{"an import that is not used", "package geo\n\nimport \"os\"\n", []string{"build.compile geo.go:3"}, "imported and not used"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			res, err := grade(t, []string{"errcheck"}, map[string]string{"geo.go": c.text})
			require.NoError(t, err)
			require.Equal(t, c.want, said(res.Findings))
			require.Contains(t, res.Findings[0].Message, c.says)
			require.Equal(t, verdict.StageBuild, res.Findings[0].Stage)
			require.Empty(t, res.Evidence)
		})
	}
}

func TestRun_ErrorsThatAreNotTheLearners(t *testing.T) {
	root, l := workshop(t)
	l.Files["geo.go"] = []byte("package geo\n\nvar x = y\n")
	tool, err := gotool.Find(t.Context(), root)
	require.NoError(t, err)
	env := &check.Env{Root: root, Tmp: t.TempDir(), Candidate: candidate.New(l, l.Unsolve()), Tool: tool, Step: func(string, ...any) {}}
	c := instance(t, "analyzers: [errcheck]")
	_, err = Kind{}.Run(t.Context(), env, c)
	require.ErrorContains(t, err, "the lesson is at fault")

	l.Files["geo.go"] = []byte(shipped)
	gone := tool.Clone()
	gone.Go = filepath.Join(root, "no-such-go")
	env.Candidate, env.Tool = candidate.New(l, l.Unsolve()), gone
	_, err = Kind{}.Run(t.Context(), env, c)
	require.Error(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	env.Tool = tool
	_, err = Kind{}.Run(ctx, env, c)
	require.ErrorIs(t, err, context.Canceled)

	p := &unit{done: map[any]*outcome{}, facts: map[fact]any{}}
	_, err = p.diagnose(&analysis.Analyzer{Name: "broken", Run: func(*analysis.Pass) (any, error) { panic("no") }})
	require.ErrorContains(t, err, "it panicked: no")
}

func TestCheck_TellsAForeignExportFromAMissingOne(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "os.a")
	require.NoError(t, os.WriteFile(garbage, []byte("go object linux amd64 go1.99\n"), 0o644))
	imports := func() *unit {
		p := &unit{fset: token.NewFileSet()}
		f, err := parser.ParseFile(p.fset, "geo.go", "package geo\n\nimport _ \"os\"\n", 0)
		require.NoError(t, err)
		p.files = []*ast.File{f}
		return p
	}
	require.ErrorContains(t, imports().check("geo", map[string]string{"os": garbage}), "run `make build`")
	p := imports()
	require.NoError(t, p.check("geo", nil))
	require.Len(t, p.broken, 1)
}

func TestKnown_AnalyzersAreWhatTheyAreCalled(t *testing.T) {
	var all []*analysis.Analyzer
	for _, name := range slices.Sorted(maps.Keys(known)) {
		require.Equal(t, name, known[name].analyzer.Name)
		require.NotEmpty(t, known[name].says)
		all = append(all, known[name].analyzer)
	}
	require.NoError(t, analysis.Validate(all))
}
