package analysis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/scanner"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"pitstop/checker/check"
	"pitstop/checker/gotool"
)

// nowhere is the folder that the analyzers are told the files are in. Some
// read a file again by its name, to look for a comment that silences them;
// there they find none.
const nowhere = "/nowhere/candidate"

// language is the Go version of the workshop's go.mod.
const language = "go1.26"

// unit is one package, read and type-checked, with what the analyzers made of
// it so far.
type unit struct {
	fset   *token.FileSet
	files  []*ast.File
	src    map[string][]byte // by name within nowhere
	pkg    *types.Package
	info   *types.Info
	sizes  types.Sizes
	broken []problem // why it does not compile; nothing else is set then

	done  map[any]*outcome
	facts map[fact]any
}

type problem struct {
	at      token.Position
	message string
}

func (p problem) String() string { return fmt.Sprintf("%s: %s", p.at, p.message) }

// load type-checks the candidate's package. What it imports is read from the
// compiler's export data: type-checking net/http anew would take seconds.
func load(ctx context.Context, env *check.Env, overlay string) (*unit, error) {
	p := &unit{fset: token.NewFileSet(), src: sources(env), done: map[any]*outcome{}, facts: map[fact]any{}}
	for _, name := range slices.Sorted(maps.Keys(p.src)) {
		f, err := parser.ParseFile(p.fset, path.Join(nowhere, name), p.src[name], parser.ParseComments|parser.SkipObjectResolution)
		if list, ok := errors.AsType[scanner.ErrorList](err); ok {
			for _, e := range list {
				p.broken = append(p.broken, problem{e.Pos, e.Msg})
			}
			continue
		}
		p.files = append(p.files, f)
	}
	if len(p.broken) > 0 {
		return p, nil
	}
	if len(p.files) == 0 {
		return nil, fmt.Errorf("%s has no Go file to analyze", env.Candidate.Lesson.Folder())
	}
	exports, err := exports(ctx, env, overlay, p.files)
	if err != nil {
		return nil, err
	}
	return p, p.check("pitstop/"+env.Candidate.Lesson.Folder(), exports)
}

// check type-checks the files as the package of that path. What they import
// is in the named files of export data.
func (p *unit) check(name string, exports map[string]string) error {
	p.sizes = types.SizesFor("gc", runtime.GOARCH)
	p.info = &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Instances: map[*ast.Ident]types.Instance{},
		Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
		Implicits: map[ast.Node]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{},
		Scopes: map[ast.Node]*types.Scope{}, FileVersions: map[*ast.File]string{},
	}
	read := &reader{files: exports}
	read.Importer = importer.ForCompiler(p.fset, "gc", read.open)
	conf := types.Config{
		GoVersion: language, Sizes: p.sizes, Importer: read,
		Error: func(err error) {
			if e, ok := errors.AsType[types.Error](err); ok && !strings.HasPrefix(e.Msg, "\t") {
				p.broken = append(p.broken, problem{p.fset.PositionFor(e.Pos, false), e.Msg})
			}
		},
	}
	var err error
	p.pkg, err = conf.Check(name, p.fset, p.files, p.info)
	switch {
	case read.failed != nil:
		return fmt.Errorf("%w; the checker was built by another Go than the one that grades: run `make build`", read.failed)
	case err != nil && len(p.broken) == 0:
		return err
	}
	return nil
}

// reader imports packages from export data. What is not there is the
// learner's mistake, and what is there and cannot be read is the machine's.
type reader struct {
	types.Importer
	files  map[string]string // by import path
	failed error
}

func (r *reader) open(name string) (io.ReadCloser, error) {
	file, ok := r.files[name]
	if !ok {
		return nil, errors.New("there is no such package")
	}
	return os.Open(file)
}

// Import implements [types.Importer].
func (r *reader) Import(name string) (*types.Package, error) {
	pkg, err := r.Importer.Import(name)
	if _, ours := r.files[name]; err != nil && ours && r.failed == nil {
		r.failed = err
	}
	return pkg, err
}

// sources are the Go files that the package is built of here: the candidate's
// and the lesson's own, tests left out.
func sources(env *check.Env) map[string][]byte {
	c := env.Candidate
	src := map[string][]byte{}
	add := func(name string, b []byte) {
		bc := build.Default
		bc.GOOS, bc.GOARCH = runtime.GOOS, runtime.GOARCH // whatever the learner builds for
		bc.OpenFile = func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
		if path.Dir(name) != "." || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return
		}
		// What cannot be read is kept: the parser says why.
		if ok, err := bc.MatchFile(nowhere, name); ok || err != nil {
			src[name] = b
		}
	}
	for name, b := range c.Lesson.Files {
		if !c.Lesson.Editable(name) {
			add(name, b)
		}
	}
	for name, b := range c.Files {
		add(name, b)
	}
	return src
}

// mark begins the lines that are ours in what the go command prints.
const mark = "pitstop-export\t"

// exports asks the go command for the export data of everything that the
// files import. Packages that it cannot make are not in the answer: the type
// checker names the import then.
func exports(ctx context.Context, env *check.Env, overlay string, files []*ast.File) (map[string]string, error) {
	imports := map[string]bool{"errors": true} // the list is never empty
	for _, f := range files {
		for _, spec := range f.Imports {
			if name, err := strconv.Unquote(spec.Path.Value); err == nil && name != "unsafe" && name != "C" {
				imports[name] = true
			}
		}
	}
	args := append([]string{
		"list", "-e", "-export", "-deps", "-overlay", overlay,
		"-f", "{{if .Export}}" + mark + "{{.ImportPath}}\t{{.Export}}{{end}}", "--",
	}, slices.Sorted(maps.Keys(imports))...)
	out, err := env.Tool.Command(ctx, env.Root, args...)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &gotool.BuildError{Output: out, Err: err}
	}
	found := map[string]string{}
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), mark); ok {
			if name, file, ok := strings.Cut(rest, "\t"); ok && filepath.IsAbs(file) {
				found[name] = file
			}
		}
	}
	if len(found) == 0 {
		return nil, &gotool.BuildError{Output: out, Err: errors.New("go list named no export data")}
	}
	return found, nil
}
