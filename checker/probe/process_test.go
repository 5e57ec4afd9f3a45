package probe

import (
	"fmt"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	Main(m, map[string]func() int{
		"quiet": func() int {
			fmt.Printf("\n%s{\"Left\":4}\n", outcome)
			return 0
		},
		"talks": func() int {
			fmt.Printf("on my way\n%s{\"Left\":4}\n", outcome)
			return 0
		},
	})
}

// failed is a test that has failed. It keeps what it is told.
type failed struct {
	testing.TB
	log      strings.Builder
	cleanups []func()
}

func (f *failed) Helper()                      {}
func (f *failed) Failed() bool                 { return true }
func (f *failed) Cleanup(c func())             { f.cleanups = append(f.cleanups, c) }
func (f *failed) Logf(format string, a ...any) { fmt.Fprintf(&f.log, format, a...) }

func TestProcess_ShowsNoReport(t *testing.T) {
	for name, want := range map[string]string{"quiet": "", "talks": "output of talks:\non my way"} {
		t.Run(name, func(t *testing.T) {
			f := &failed{TB: t}
			p := Start(f, name)
			p.report = outcome
			if got, err := p.Line(t.Context(), outcome); got != `{"Left":4}` {
				t.Errorf("the report is %q with the error %v", got, err)
			}
			for _, c := range f.cleanups {
				c()
			}
			if got := f.log.String(); got != want {
				t.Errorf("the failed test shows %q, want %q", got, want)
			}
		})
	}
}
