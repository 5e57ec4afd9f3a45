package analysis

import (
	"go/ast"
	"go/token"
	"go/types"
	"path/filepath"
	"regexp"

	"golang.org/x/tools/go/analysis"

	"pitstop/checker/candidate"
	"pitstop/checker/verdict"
)

// silencer is a comment that some linter takes for an order to look away.
var silencer = regexp.MustCompile(`^/[/*]\s*(nolint\b|lint:(file-)?ignore\b|#nosec\b|bodyclose:handled\b|noctx:ignore\b|revive:disable|exhaustive:ignore|line [^ ]*:\d|Code generated .* DO NOT EDIT\.)`)

// silencers finds what would quiet a linter without mending anything: such
// comments, and the assignment of an error or a cancel function to the blank
// identifier, in the files that are the learner's.
func silencers(c *candidate.Candidate, p *unit) []verdict.Finding {
	var found []verdict.Finding
	report := func(at token.Pos, code, format string, args ...any) {
		found = append(found, p.finding(c.Lesson, code, analysis.Diagnostic{Pos: at}, format, args...))
	}
	for _, f := range p.files {
		name := filepath.Base(p.fset.PositionFor(f.FileStart, false).Filename)
		if _, theirs := c.Files[name]; !theirs {
			continue
		}
		for _, group := range f.Comments {
			for _, comment := range group.List {
				if m := silencer.FindStringSubmatch(comment.Text); m != nil {
					report(comment.Pos(), "analysis.silenced", "the comment %q asks linters to look away; mend what they see and take it out", m[1])
				}
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			a, ok := n.(*ast.AssignStmt)
			if !ok || len(a.Lhs) != len(a.Rhs) {
				return true
			}
			for i, to := range a.Lhs {
				from, isVar := ast.Unparen(a.Rhs[i]).(*ast.Ident)
				if isVar && isBlank(to) && (isError(p.info.TypeOf(from)) || isCancel(p.info.TypeOf(from))) {
					report(to.Pos(), "analysis.silenced", "_ = %s makes the linters content and changes nothing; use %s or do not ask for it", from.Name, from.Name)
				}
			}
			return true
		})
	}
	return found
}

func isBlank(x ast.Expr) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == "_"
}

func isError(t types.Type) bool {
	return t != nil && types.Identical(t, types.Universe.Lookup("error").Type())
}

func isCancel(t types.Type) bool {
	return isNamed(t, "context", "CancelFunc") || isNamed(t, "context", "CancelCauseFunc")
}

func isNamed(t types.Type, pkg, name string) bool {
	n, ok := types.Unalias(t).(*types.Named)
	return ok && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == pkg && n.Obj().Name() == name
}
