package analysis

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/ast/astutil"
	"golang.org/x/tools/go/types/typeutil"
)

// What follows excuses diagnostics that are known to be wrong: a right mend
// must pass.

// derived reports whether a shadow diagnostic is about a context that is made
// of the one it hides, as in ctx, cancel := context.WithTimeout(ctx, …) in an
// inner block: that is meant. An error made of another is not excused: the
// outer one stays what it was.
func derived(p *unit, d analysis.Diagnostic) bool {
	for _, n := range p.path(d.Pos) {
		a, ok := n.(*ast.AssignStmt)
		if !ok {
			continue
		}
		var name string
		for _, to := range a.Lhs {
			if id, ok := to.(*ast.Ident); ok && id.Pos() == d.Pos && isNamed(p.info.TypeOf(id), "context", "Context") {
				name = id.Name
			}
		}
		mentioned := false
		for _, from := range a.Rhs {
			ast.Inspect(from, func(n ast.Node) bool {
				id, ok := n.(*ast.Ident)
				mentioned = mentioned || ok && id.Name == name
				return true
			})
		}
		return mentioned
	}
	return false
}

// handedOn reports whether a bodyclose diagnostic is about a response whose
// body goes to a function of this package that closes it, as in defer
// drain(resp.Body). bodyclose does not follow it there.
func handedOn(p *unit, d analysis.Diagnostic) (found bool) {
	around := p.path(d.Pos)
	i := slices.IndexFunc(around, func(n ast.Node) bool { _, ok := n.(*ast.FuncDecl); return ok })
	if i < 0 {
		return false
	}
	ast.Inspect(around[i], func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		for i, arg := range call.Args {
			if sel, ok := ast.Unparen(arg).(*ast.SelectorExpr); ok && sel.Sel.Name == "Body" && isNamed(p.info.TypeOf(sel), "io", "ReadCloser") {
				found = found || p.closes(typeutil.StaticCallee(p.info, call), i)
			}
		}
		return true
	})
	return found
}

// closes reports whether a function of this package calls Close on its n-th
// parameter.
func (p *unit) closes(fn *types.Func, n int) (found bool) {
	if fn == nil || n >= fn.Signature().Params().Len() {
		return false
	}
	param := fn.Signature().Params().At(n)
	for _, f := range p.files {
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Close" {
				id, ok := ast.Unparen(sel.X).(*ast.Ident)
				found = found || ok && p.info.Uses[id] == param
			}
			return !found
		})
	}
	return found
}

// path lists the nodes around a place, the innermost first.
func (p *unit) path(at token.Pos) []ast.Node {
	i := slices.IndexFunc(p.files, func(f *ast.File) bool { return f.FileStart <= at && at < f.FileEnd })
	if i < 0 {
		return nil
	}
	nodes, _ := astutil.PathEnclosingInterval(p.files[i], at, at)
	return nodes
}

// nothingToTell reports whether an errcheck diagnostic is about an error that
// nobody could act on: the Close of what was only read, and the draining of a
// body into io.Discard.
func nothingToTell(p *unit, d analysis.Diagnostic) bool {
	for _, n := range p.path(d.Pos) {
		switch n := n.(type) {
		case *ast.CallExpr:
			return idle(p, n)
		case *ast.AssignStmt:
			call, ok := n.Rhs[0].(*ast.CallExpr)
			return ok && len(n.Rhs) == 1 && idle(p, call)
		case *ast.BlockStmt:
			return false
		}
	}
	return false
}

func idle(p *unit, call *ast.CallExpr) bool {
	sel, ok := ast.Unparen(call.Fun).(*ast.SelectorExpr)
	if !ok {
		return false
	}
	if sel.Sel.Name == "Close" {
		return isNamed(p.info.TypeOf(sel.X), "io", "ReadCloser")
	}
	if fn, ok := p.info.Uses[sel.Sel].(*types.Func); !ok || fn.Pkg() == nil || fn.Pkg().Path() != "io" || len(call.Args) < 2 {
		return false
	}
	to, ok := ast.Unparen(call.Args[0]).(*ast.SelectorExpr)
	if !ok {
		return false
	}
	v, ok := p.info.Uses[to.Sel].(*types.Var)
	return ok && v.Pkg() != nil && v.Pkg().Path() == "io" && v.Name() == "Discard"
}
