package analysis

import (
	"fmt"
	"go/types"
	"path/filepath"
	"reflect"

	"golang.org/x/tools/go/analysis"
)

// outcome is what one analyzer made of the package.
type outcome struct {
	result any
	found  []analysis.Diagnostic
	err    error
}

// fact is the key of what an analyzer noted about an object, or about the
// package where there is no object. Only this package is analyzed, so there
// are no facts about what it imports; ctrlflow then takes a call of log.Fatal
// for one that returns.
type fact struct {
	object types.Object
	kind   reflect.Type
}

// diagnose runs an analyzer, and before it those whose results it needs.
func (p *unit) diagnose(a *analysis.Analyzer) ([]analysis.Diagnostic, error) {
	o := p.analyze(a)
	return o.found, o.err
}

func (p *unit) analyze(a *analysis.Analyzer) (o *outcome) {
	if o := p.done[a]; o != nil {
		return o
	}
	o = &outcome{}
	p.done[a] = o
	results := map[*analysis.Analyzer]any{}
	for _, need := range a.Requires {
		r := p.analyze(need)
		if r.err != nil {
			o.err = fmt.Errorf("%s: %w", need.Name, r.err)
			return o
		}
		results[need] = r.result
	}
	pass := &analysis.Pass{
		Analyzer: a, Fset: p.fset, Files: p.files, Pkg: p.pkg, TypesInfo: p.info, TypesSizes: p.sizes,
		ResultOf: results,
		Module:   &analysis.Module{Path: "pitstop", GoVersion: language[2:]},
		Report:   func(d analysis.Diagnostic) { o.found = append(o.found, d) },
		ReadFile: func(name string) ([]byte, error) {
			if b, ok := p.src[filepath.Base(name)]; ok {
				return b, nil
			}
			return nil, fmt.Errorf("%s is not of this package", name)
		},
		ImportObjectFact:  p.recall,
		ExportObjectFact:  p.note,
		ImportPackageFact: func(pkg *types.Package, f analysis.Fact) bool { return pkg == p.pkg && p.recall(nil, f) },
		ExportPackageFact: func(f analysis.Fact) { p.note(nil, f) },
		AllObjectFacts:    func() []analysis.ObjectFact { return nil },
		AllPackageFacts:   func() []analysis.PackageFact { return nil },
	}
	defer func() {
		if v := recover(); v != nil {
			o.err = fmt.Errorf("it panicked: %v", v)
		}
	}()
	o.result, o.err = a.Run(pass)
	return o
}

func (p *unit) note(obj types.Object, f analysis.Fact) { p.facts[fact{obj, reflect.TypeOf(f)}] = f }

func (p *unit) recall(obj types.Object, f analysis.Fact) bool {
	kept, ok := p.facts[fact{obj, reflect.TypeOf(f)}]
	if ok {
		reflect.ValueOf(f).Elem().Set(reflect.ValueOf(kept).Elem())
	}
	return ok
}
