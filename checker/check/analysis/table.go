package analysis

import (
	"maps"
	"slices"

	"github.com/kisielk/errcheck/errcheck"
	"github.com/sonatard/noctx"
	"github.com/timakin/bodyclose/passes/bodyclose"
	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/passes/copylock"
	"golang.org/x/tools/go/analysis/passes/httpresponse"
	"golang.org/x/tools/go/analysis/passes/lostcancel"
	"golang.org/x/tools/go/analysis/passes/shadow"
	"honnef.co/go/tools/staticcheck/sa1012"
	"honnef.co/go/tools/staticcheck/sa4006"
	"honnef.co/go/tools/staticcheck/sa5001"
)

type entry struct {
	analyzer *analysis.Analyzer
	says     string                                // what it means for a service, in a sentence
	excused  func(*unit, analysis.Diagnostic) bool // what it is known to be wrong about; may be nil
}

// known is the table of the analyzers that a lesson may name.
var known = map[string]entry{
	"bodyclose":    {bodyclose.Analyzer, "nothing closes the body of this response, so its connection is held for good", handedOn},
	"copylocks":    {copylock.Analyzer, "a lock is copied here, and the copy guards nothing", nil},
	"earlycancel":  {earlyCancel, "the deferred cancel runs when this function returns, and the goroutine it started lives by that context", nil},
	"errcheck":     {blanks(errcheck.Analyzer), "this call can fail, and nobody asks whether it did", nothingToTell},
	"httpresponse": {httpresponse.Analyzer, "the response is used before the error is looked at", nil},
	"lostcancel":   {lostcancel.Analyzer, "the cancel function is not called on every way out, so the timer stays until it fires", nil},
	"noctx":        {noctx.Analyzer, "this request takes no context, so a caller that leaves cannot end it", nil},
	"shadow":       {shadow.Analyzer, "this declares a second variable, and the one outside keeps what it held", derived},
	"SA1012":       {sa1012.Analyzer, "nil is handed on as a context", nil},
	"SA4006":       {sa4006.Analyzer, "this value is overwritten before anybody reads it", nil},
	"SA5001":       {sa5001.Analyzer, "Close is deferred before the error is looked at", nil},
}

func names() []string { return slices.Sorted(maps.Keys(known)) }

// blanks has errcheck look at `_ =` too.
func blanks(a *analysis.Analyzer) *analysis.Analyzer {
	if err := a.Flags.Set("blank", "true"); err != nil {
		panic(err)
	}
	return a
}
