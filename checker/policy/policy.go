// Package policy reads a candidate's syntax trees before anything runs, and
// names what no honest mend needs and a grader can be fooled with. It judges
// no design: what a mend does is for the tests.
package policy

import (
	"bytes"
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
}

// calls names the functions that end or replace the process behind the
// tests' back.
var calls = map[string]map[string]bool{
	"os":      {"Exit": true, "StartProcess": true},
	"runtime": {"Breakpoint": true},
}

// signals is what remains of syscall where a lesson allows it.
var signals = regexp.MustCompile(`^(SIG[A-Z0-9]+|Signal|Errno|E[A-Z0-9]+)$`)

var directive = regexp.MustCompile(`^//(go:(linkname|norace|build|cgo_\w+|wasmimport|wasmexport|debug)\b|export\b)|^// \+build\b`)

// Read reports what is wrong with the candidate's Go files, files in order of
// name, and each file's findings in order of line.
func Read(c *candidate.Candidate) []verdict.Finding {
	var all []verdict.Finding
	want := packageName(c.Lesson)
	for _, name := range slices.Sorted(maps.Keys(c.Files)) {
		if path.Ext(name) == ".go" {
			r := reader{lesson: c.Lesson, name: name, fset: token.NewFileSet(), allowed: allowed(c.Lesson)}
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
	found   []verdict.Finding
}

func (r *reader) report(code string, stage verdict.Stage, line int, format string, args ...any) {
	r.found = append(r.found, verdict.Finding{
		Code: code, Message: fmt.Sprintf(format, args...), Stage: stage,
		File: path.Join(r.lesson.Folder(), r.name), Line: line,
	})
}

func (r *reader) policy(code string, at token.Pos, format string, args ...any) {
	r.report("policy."+code, verdict.StagePolicy, r.fset.Position(at).Line, format, args...)
}

func (r *reader) file(src []byte, want string) {
	if len(bytes.TrimSpace(src)) == 0 {
		r.report("build.compile", verdict.StageBuild, 0, "%s is empty; `checker reset %02d` puts the lesson's file back", r.name, r.lesson.Number)
		return
	}
	f, err := parser.ParseFile(r.fset, r.name, src, parser.ParseComments|parser.SkipObjectResolution)
	if list, ok := err.(scanner.ErrorList); ok {
		for _, e := range list[:min(len(list), 3)] {
			r.report("build.compile", verdict.StageBuild, e.Pos.Line, "%s does not compile: %s", r.name, e.Msg)
		}
		return
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
	names := map[string]string{} // local name → import path
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		local := path.Base(p)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		names[local] = p
		if local == "." {
			r.policy("dot_import", spec.Pos(), "the dot import of %s hides what is called; import it by name", p)
		}
		r.importPath(spec, p)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		id, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		switch p := names[id.Name]; {
		case calls[p][sel.Sel.Name]:
			r.policy("exit", sel.Pos(), "%s.%s takes the whole process away; return an error and let main decide", p, sel.Sel.Name)
		case p == "syscall" && !signals.MatchString(sel.Sel.Name):
			r.policy("import", sel.Pos(), "syscall.%s: of syscall this lesson allows the signals only", sel.Sel.Name)
		}
		return true
	})
}

func (r *reader) importPath(spec *ast.ImportSpec, p string) {
	under := func(prefix string) bool { return p == prefix || strings.HasPrefix(p, prefix+"/") }
	if slices.ContainsFunc(r.allowed, under) {
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

// allowed lists what the lesson names, and what its own files import already.
func allowed(l *lesson.Lesson) []string {
	list := slices.Clone(l.Imports)
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
