// Package policy reads a candidate's syntax trees before anything runs, and
// names what no honest mend needs and a grader can be fooled with. It judges
// no design: what a mend does is for the tests.
package policy

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pitstop/checker/candidate"
	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

// module is this workshop's own module path, which looks like the standard
// library's: it has no dot.
const module = "pitstop"

// denied names the standard library's packages that a mend has no use for.
// A lesson that needs one lists it under imports.
var denied = map[string]string{
	"C":           "cgo is not graded",
	"unsafe":      "a mend needs no unsafe memory",
	"plugin":      "plugins are not graded",
	"os/exec":     "a mend starts no process",
	"syscall":     "a mend makes no system call",
	"testing":     "tests are not the learner's here",
	"runtime/cgo": "cgo is not graded",
	"flag":        "the command line belongs to the tests, and -h ends the process",
}

// names says why a mend uses none of these names of a package: they end or
// replace the process behind the tests' back, or steer it.
var names = map[string]map[string]string{
	"os": {
		"Exit":         "takes the whole process away; return an error and let main decide",
		"StartProcess": "starts a process, and a mend starts none",
		"Args":         "belongs to the tests' command line; take what you need as a parameter",
	},
	"runtime": {"Breakpoint": "stops the whole process; take it away"},
}

// streams are the process's own; a mend may print to them, and not put others
// in their place.
var streams = map[string]bool{"Stdin": true, "Stdout": true, "Stderr": true}

// signals is what remains of syscall where a lesson allows it.
var signals = regexp.MustCompile(`^(SIG[A-Z0-9]+|Signal|Errno|E[A-Z0-9]+)$`)

var directive = regexp.MustCompile(`^//(go:(linkname|norace|build|cgo_\w+|wasmimport|wasmexport|debug)\b|export\b)|^// \+build\b`)

// Read reports what is wrong with the candidate's Go files, files in order of
// name, and each file's findings in order of line.
func Read(c *candidate.Candidate) []verdict.Finding {
	var all []verdict.Finding
	want, allow, used := packageName(c.Lesson), allowed(c.Lesson), shipped(c.Lesson)
	for _, name := range slices.Sorted(maps.Keys(c.Files)) {
		if path.Ext(name) == ".go" {
			r := reader{lesson: c.Lesson, name: name, fset: token.NewFileSet(), allowed: allow, shipped: used}
			r.file(c.Files[name], want)
			slices.SortStableFunc(r.found, func(a, b verdict.Finding) int { return a.Line - b.Line })
			all = append(all, r.found...)
		}
	}
	return all
}

type reader struct {
	lesson  *lesson.Lesson
	name    string
	fset    *token.FileSet
	allowed []string
	shipped map[string]bool   // qualified names that the lesson's own files use
	imports map[string]string // local name → import path
	found   []verdict.Finding
}

func (r *reader) report(code string, stage verdict.Stage, line int, format string, args ...any) {
	r.found = append(r.found, verdict.Finding{
		Code: code, Message: fmt.Sprintf(format, args...), Stage: stage,
		File: path.Join(r.lesson.Folder(), r.name), Line: line,
	})
}

// policy reports what stands at a place, once a line.
func (r *reader) policy(code string, at token.Pos, format string, args ...any) {
	f := verdict.Finding{Code: "policy." + code, Message: fmt.Sprintf(format, args...), Line: r.fset.Position(at).Line}
	for _, said := range r.found {
		if said.Code == f.Code && said.Line == f.Line && said.Message == f.Message {
			return
		}
	}
	r.report(f.Code, verdict.StagePolicy, f.Line, "%s", f.Message)
}

func (r *reader) file(src []byte, want string) {
	if len(bytes.TrimSpace(src)) == 0 {
		r.report("build.compile", verdict.StageBuild, 0, "%s is empty; `bin/checker reset %02d` puts the lesson's file back", r.name, r.lesson.Number)
		return
	}
	f, err := parser.ParseFile(r.fset, r.name, src, parser.ParseComments)
	if list, ok := errors.AsType[scanner.ErrorList](err); ok {
		for _, e := range list[:min(len(list), 3)] {
			r.report("build.compile", verdict.StageBuild, e.Pos.Line, "%s does not compile: line %d: %s", r.name, e.Pos.Line, e.Msg)
		}
		return
	}
	if want != "" && strings.HasSuffix(r.name, "_test.go") {
		want += "_test" // a test of the learner's is tried on other implementations: it sees what is exported
	}
	if want != "" && f.Name.Name != want {
		r.report("build.compile", verdict.StageBuild, r.fset.Position(f.Name.Pos()).Line,
			"%s says package %s; the lesson's package is %s", r.name, f.Name.Name, want)
	}
	for _, group := range f.Comments {
		for _, c := range group.List {
			if m := directive.FindString(c.Text); m != "" {
				r.policy("directive", c.Pos(), "the line %s changes how the file is built; take it away", m)
			}
		}
	}
	r.imports = map[string]string{}
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		local := path.Base(p)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		r.imports[local] = p
		if local == "." {
			r.policy("dot_import", spec.Pos(), "the dot import of %s hides what is called; import it by name", p)
		}
		r.importPath(spec, p)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			r.selector(n)
		case *ast.AssignStmt:
			for _, x := range n.Lhs {
				r.stream(x, "puts another in its place")
			}
		case *ast.RangeStmt:
			r.stream(n.Key, "puts another in its place")
			r.stream(n.Value, "puts another in its place")
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				r.stream(n.X, "lets another be put in its place")
			}
		case *ast.CallExpr:
			if sel, ok := ast.Unparen(n.Fun).(*ast.SelectorExpr); ok && sel.Sel.Name == "Close" {
				r.stream(sel.X, "closes it")
			}
		}
		return true
	})
}

// of resolves a qualified name of an imported package. A variable that has
// the package's name is not the package.
func (r *reader) of(x ast.Expr) (pkg, name string) {
	if x == nil {
		return "", ""
	}
	x = ast.Unparen(x)
	if star, ok := x.(*ast.StarExpr); ok {
		x = star.X
	}
	sel, ok := ast.Unparen(x).(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	id, ok := sel.X.(*ast.Ident)
	if !ok || id.Obj != nil {
		return "", ""
	}
	return r.imports[id.Name], sel.Sel.Name
}

func (r *reader) selector(sel *ast.SelectorExpr) {
	p, name := r.of(sel)
	why, found := names[p][name]
	switch {
	case found && !r.shipped[p+"."+name]:
		r.policy("exit", sel.Pos(), "%s.%s %s", p, name, why)
	case p == "syscall" && !signals.MatchString(name):
		r.policy("import", sel.Pos(), "syscall.%s: of syscall this lesson allows the signals only", name)
	}
}

func (r *reader) stream(x ast.Expr, does string) {
	if p, name := r.of(x); p == "os" && streams[name] {
		r.policy("exit", x.Pos(), "os.%s is the tests' own, and this %s; print to it, or take an io.Writer as a parameter", name, does)
	}
}

func (r *reader) importPath(spec *ast.ImportSpec, p string) {
	under := func(prefix string) bool { return p == prefix || strings.HasPrefix(p, prefix+"/") }
	if strings.HasSuffix(r.name, "_test.go") && p == path.Join(module, r.lesson.Folder()) {
		return // what it tests
	}
	if slices.ContainsFunc(r.lesson.Imports, under) || slices.Contains(r.allowed, p) {
		return
	}
	for d, why := range denied {
		if under(d) {
			r.policy("import", spec.Pos(), "%s imports %s: %s", r.name, p, why)
			return
		}
	}
	first, _, _ := strings.Cut(p, "/")
	if strings.Contains(first, ".") || first == module {
		allow := "the standard library"
		if len(r.lesson.Imports) > 0 {
			allow += " and " + strings.Join(r.lesson.Imports, ", ")
		}
		r.policy("import", spec.Pos(), "%s imports %s; this lesson allows %s", r.name, p, allow)
	}
}

// allowed lists what the lesson's own files import already: these packages,
// and none below them.
func allowed(l *lesson.Lesson) (list []string) {
	eachImport(l, func(p string) { list = append(list, p) })
	return list
}

func eachImport(l *lesson.Lesson, visit func(string)) {
	for name, src := range l.Files {
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		if err != nil {
			continue
		}
		for _, spec := range f.Imports {
			if p, err := strconv.Unquote(spec.Path.Value); err == nil {
				visit(p)
			}
		}
	}
}

// shipped lists the qualified names that the lesson's own files use: what a
// lesson does itself, a mend may go on doing.
func shipped(l *lesson.Lesson) map[string]bool {
	used := map[string]bool{}
	for name, src := range l.Files {
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution)
		if err != nil {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if id, ok := sel.X.(*ast.Ident); ok && (names[id.Name][sel.Sel.Name] != "") {
					used[id.Name+"."+sel.Sel.Name] = true
				}
			}
			return true
		})
	}
	return used
}

// packageName is what the lesson's own files say.
func packageName(l *lesson.Lesson) string {
	for _, name := range slices.Sorted(maps.Keys(l.Files)) {
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || path.Dir(name) != "." {
			continue
		}
		if f, err := parser.ParseFile(token.NewFileSet(), name, l.Files[name], parser.PackageClauseOnly); err == nil {
			return f.Name.Name
		}
	}
	return ""
}
