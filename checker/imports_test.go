package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	// Lessons allow these to mends, so go.mod must hold them.
	_ "github.com/sony/gobreaker/v2"
	_ "golang.org/x/sync/errgroup"
)

// floors says who may import whom: a package imports only packages of a lower
// floor. A new package gets a line here.
var floors = map[string]int{
	"pitstop/checker":                90,
	"pitstop/checker/bench":          90,
	"pitstop/checker/cli":            80,
	"pitstop/checker/tui":            70,
	"pitstop/checker/watch":          60,
	"pitstop/checker/cluster":        65,
	"pitstop/checker/author":         60,
	"pitstop/checker/grade":          50,
	"pitstop/checker/check/gotest":   41, // kinds do not import one another
	"pitstop/checker/check/mutants":  41,
	"pitstop/checker/check/analysis": 41,
	"pitstop/checker/check":          40,
	"pitstop/checker/workshop":       35,
	"pitstop/checker/render":         32,
	"pitstop/checker/policy":         31,
	"pitstop/checker/candidate":      30,
	"pitstop/checker/progress":       25,
	"pitstop/checker/lesson":         20,
	"pitstop/checker/gotool":         15,
	"pitstop/checker/verdict":        10,
	"pitstop/checker/probe":          6,
	"pitstop/checker/probe/manifest": 6,
	"pitstop/checker/probe/wire":     5,
	"pitstop/solutions":              0,
}

func TestImports_GoDownOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		floor, ok := floors[p.ImportPath]
		if !ok {
			t.Errorf("%s is on no floor; give it one in imports_test.go", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, "pitstop/") {
				continue
			}
			if below, ok := floors[imp]; !ok || below >= floor {
				t.Errorf("%s (floor %d) imports %s (floor %d): imports go down only", p.ImportPath, floor, imp, below)
			}
		}
		if p.ImportPath == "pitstop/checker/verdict" {
			for _, imp := range p.Imports {
				if strings.Contains(imp, ".") || strings.HasPrefix(imp, "pitstop/") {
					t.Errorf("verdict imports %s: it is plain data and imports the standard library only", imp)
				}
			}
		}
	}
	if seen == 0 {
		t.Fatal("go list named no package")
	}
}
