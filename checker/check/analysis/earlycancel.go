package analysis

import (
	"go/ast"
	"go/token"
	"go/types"

	"golang.org/x/tools/go/analysis"
)

// earlyCancel finds a deferred cancel in a function that starts a goroutine
// on the same context and then returns: the goroutine's context has ended
// before its first request. lostcancel is content with such a function, since
// cancel is called on every way out.
//
// Whatever could wait after the start excuses the function: a call, a
// receive, a second defer. It is meant to miss some and to be right about
// those it names.
var earlyCancel = &analysis.Analyzer{
	Name: "earlycancel",
	Doc:  "report a deferred cancel that ends the context of a goroutine which outlives the function",
	Run: func(pass *analysis.Pass) (any, error) {
		for _, f := range pass.Files {
			ast.Inspect(f, func(n ast.Node) bool {
				switch fn := n.(type) {
				case *ast.FuncDecl:
					early(pass, fn.Body)
				case *ast.FuncLit:
					early(pass, fn.Body)
				}
				return true
			})
		}
		return nil, nil
	},
}

func early(pass *analysis.Pass, body *ast.BlockStmt) {
	if body == nil {
		return
	}
	object := func(x ast.Expr) types.Object {
		id, _ := ast.Unparen(x).(*ast.Ident)
		return pass.TypesInfo.ObjectOf(id)
	}
	ctxOf := map[types.Object]types.Object{} // by its cancel function
	for i, s := range body.List {
		switch s := s.(type) {
		case *ast.AssignStmt:
			if len(s.Lhs) == 2 && isCancel(pass.TypesInfo.TypeOf(s.Lhs[1])) {
				ctxOf[object(s.Lhs[1])] = object(s.Lhs[0])
			}
		case *ast.DeferStmt:
			ctx := ctxOf[object(s.Call.Fun)]
			if start := lastStart(pass, body.List[i+1:], ctx); ctx != nil && start != nil {
				pass.Reportf(s.Pos(), "%s ends %s when this function returns, and the goroutine started at line %d uses it",
					types.ExprString(s.Call.Fun), ctx.Name(), pass.Fset.PositionFor(start.Pos(), false).Line)
			}
		}
	}
}

// lastStart finds the last goroutine that uses ctx, begun by go or by a
// method named Go, unless its statement or a later one could wait.
func lastStart(pass *analysis.Pass, list []ast.Stmt, ctx types.Object) (start ast.Node) {
	deferred := false
	for _, s := range list {
		waits := false // before the start or after it: in a loop both come after
		ast.Inspect(s, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit:
				return false
			case *ast.GoStmt:
				if uses(pass, n, ctx) {
					start = n
				}
				return false
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Go" && uses(pass, n, ctx) {
					start = n
					return false
				}
				waits = true
			case *ast.SelectStmt, *ast.SendStmt:
				waits = true
			case *ast.DeferStmt:
				deferred = true
			case *ast.UnaryExpr:
				waits = waits || n.Op == token.ARROW
			case *ast.RangeStmt:
				_, channel := pass.TypesInfo.TypeOf(n.X).Underlying().(*types.Chan)
				waits = waits || channel
			}
			return true
		})
		if waits {
			start = nil
		}
	}
	if deferred {
		return nil
	}
	return start
}

func uses(pass *analysis.Pass, n ast.Node, obj types.Object) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		found = found || ok && pass.TypesInfo.Uses[id] == obj
		return !found
	})
	return found
}
