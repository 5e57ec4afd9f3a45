package geo_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"pitstop/checker/probe"
)

// The oldest that the workflow may name. Newer is always right.
const (
	oldestGo       = 26 // 1.26, as go.mod says
	oldestCheckout = 5  // the first on Node 24
	oldestSetupGo  = 6  // the first on Node 24
	oldestLint     = 8  // v7 was the first that runs golangci-lint v2
)

// lint is the second version of golangci-lint's configuration, as far as it
// has fixed names.
type lint struct {
	Version yaml.Node `yaml:"version"`
	Run     struct {
		Timeout       any      `yaml:"timeout"`
		ExitCode      any      `yaml:"issues-exit-code"`
		Tests         any      `yaml:"tests"`
		Tags          []string `yaml:"build-tags"`
		Mode          any      `yaml:"modules-download-mode"`
		Parallel      any      `yaml:"allow-parallel-runners"`
		Serial        any      `yaml:"allow-serial-runners"`
		Relative      any      `yaml:"relative-path-mode"`
		Go            string   `yaml:"go"`
		Concurrency   any      `yaml:"concurrency"`
		EnableBuildVC any      `yaml:"enable-build-vcs"`
	} `yaml:"run"`
	Linters struct {
		Default    string                    `yaml:"default"`
		Enable     []string                  `yaml:"enable"`
		Disable    []string                  `yaml:"disable"`
		Settings   map[string]map[string]any `yaml:"settings"`
		Exclusions struct {
			Generated   string   `yaml:"generated"`
			WarnUnused  any      `yaml:"warn-unused"`
			Presets     []string `yaml:"presets"`
			Rules       []rule   `yaml:"rules"`
			Paths       []string `yaml:"paths"`
			PathsExcept []string `yaml:"paths-except"`
		} `yaml:"exclusions"`
	} `yaml:"linters"`
	Formatters struct {
		Enable     []string       `yaml:"enable"`
		Settings   map[string]any `yaml:"settings"`
		Exclusions map[string]any `yaml:"exclusions"`
	} `yaml:"formatters"`
	Issues struct {
		MaxPerLinter any `yaml:"max-issues-per-linter"`
		MaxSame      any `yaml:"max-same-issues"`
		Unique       any `yaml:"uniq-by-line"`
		New          any `yaml:"new"`
		NewBase      any `yaml:"new-from-merge-base"`
		NewRev       any `yaml:"new-from-rev"`
		NewPatch     any `yaml:"new-from-patch"`
		WholeFiles   any `yaml:"whole-files"`
		Fix          any `yaml:"fix"`
	} `yaml:"issues"`
	Output   map[string]any `yaml:"output"`
	Severity map[string]any `yaml:"severity"`
}

type rule struct {
	Path       string   `yaml:"path"`
	PathExcept string   `yaml:"path-except"`
	Linters    []string `yaml:"linters"`
	Text       string   `yaml:"text"`
	Source     string   `yaml:"source"`
}

// intended are the linters that the first version of the file switched on,
// under the names they have today.
var intended = []string{
	"bodyclose", "contextcheck", "errcheck", "exhaustive", "govet", "misspell", "noctx", "staticcheck", "unconvert", "unparam",
}

// on reports whether a linter runs.
func (l *lint) on(name string) bool {
	standard := []string{"errcheck", "govet", "ineffassign", "staticcheck", "unused"}
	byDefault := l.Linters.Default == "all" ||
		(l.Linters.Default == "" || l.Linters.Default == "standard") && slices.Contains(standard, name)
	return (byDefault || slices.Contains(l.Linters.Enable, name)) && !slices.Contains(l.Linters.Disable, name)
}

var unknownKey = regexp.MustCompile(`line (\d+): field (\S+) not found`)

func readLint(t *testing.T) (*lint, []string) {
	t.Helper()
	b, err := os.ReadFile("golangci.yml")
	if err != nil {
		probe.Fatalf(t, "lint.yaml", "golangci.yml cannot be read: %v.", err)
	}
	l, unknown := &lint{}, []string(nil)
	dec := yaml.NewDecoder(strings.NewReader(string(b)))
	dec.KnownFields(true)
	err = dec.Decode(l)
	if e, ok := errors.AsType[*yaml.TypeError](err); ok {
		for _, line := range e.Errors {
			m := unknownKey.FindStringSubmatch(line)
			if m == nil {
				probe.Errorf(t, "lint.yaml", "golangci.yml: %s.", line)
				continue
			}
			unknown = append(unknown, fmt.Sprintf("%s (line %s)", m[2], m[1]))
		}
	} else if err != nil {
		probe.Fatalf(t, "lint.yaml", "golangci.yml is not what YAML calls a mapping: %v.", err)
	}
	return l, unknown
}

func TestLint_IsOfTheSecondVersion(t *testing.T) {
	l, unknown := readLint(t)
	if l.Version.Value != "2" || l.Version.Tag != "!!str" {
		probe.Errorf(t, "lint.version", "golangci-lint v2 reads no file without version: \"2\", a string; here it says %q.", l.Version.Value)
	}
	if !probe.AtMost(t, "keys that v2 does not know", len(unknown), 0, "keys") {
		probe.Errorf(t, "lint.key", "golangci-lint v2 has no such key where it stands: %s.", strings.Join(unknown, ", "))
	}
}

func TestLint_KeepsItsIntent(t *testing.T) {
	l, _ := readLint(t)
	var off []string
	for _, name := range intended {
		if !l.on(name) {
			off = append(off, name)
		}
	}
	if !probe.AtMost(t, fmt.Sprintf("linters switched off of %d", len(intended)), len(off), 0, "linters") {
		probe.Errorf(t, "lint.linter", "These linters ran before and do not any more: %s.", strings.Join(off, ", "))
	}
	for _, name := range slices.Concat(l.Linters.Enable, l.Linters.Disable) {
		switch name {
		case "gofmt", "goimports", "gofumpt", "gci", "golines", "swaggo":
			probe.Errorf(t, "lint.formatter", "%s stands among the linters; v2 calls it a formatter and refuses the file.", name)
		case "gosimple", "stylecheck":
			probe.Errorf(t, "lint.linter", "v2 knows no linter %s, and refuses the file: it is part of staticcheck now.", name)
		}
	}
	if !slices.Contains(l.Formatters.Enable, "gofmt") && !slices.Contains(l.Formatters.Enable, "gofumpt") {
		probe.Errorf(t, "lint.formatter", "Nothing checks the formatting any more: formatters.enable names no gofmt.")
	}
	if l.Linters.Settings["errcheck"]["check-blank"] != true {
		probe.Errorf(t, "lint.setting", "errcheck no longer looks at `_ =`: linters.settings.errcheck.check-blank is not true.")
	}
	vet := l.Linters.Settings["govet"]
	if vet["enable-all"] != true && !contains(vet["enable"], "shadow") || contains(vet["disable"], "shadow") || vet["disable-all"] == true && !contains(vet["enable"], "shadow") {
		probe.Errorf(t, "lint.shadow", "govet no longer looks for shadowed variables: check-shadowing is gone from v2, and linters.settings.govet does not enable shadow.")
	}
	if l.Linters.Settings["misspell"]["locale"] != "UK" {
		probe.Errorf(t, "lint.setting", "misspell no longer knows which English is meant: linters.settings.misspell.locale is not UK.")
	}
	if minor, ok := goMinor(l.Run.Go); l.Run.Go != "" && (!ok || minor < oldestGo) {
		probe.Errorf(t, "lint.go", "run.go is %s: linters read the code as if it were of that Go. go.mod says 1.%d; leave the key out or raise it.", l.Run.Go, oldestGo)
	}
	for _, name := range []string{"errcheck", "noctx"} {
		if !slices.ContainsFunc(l.Linters.Exclusions.Rules, func(r rule) bool {
			return matches(r.Path, "geo_test.go") && slices.Contains(r.Linters, name)
		}) {
			probe.Errorf(t, "lint.rule", "Tests were excused from %s, and no rule of linters.exclusions.rules says so any more.", name)
		}
	}
}

func TestWorkflow_RunsWithWhatIsMaintained(t *testing.T) {
	w := readWorkflow(t)
	old := 0
	for _, a := range []struct {
		name   string
		oldest int
		needed bool
	}{
		{"actions/checkout", oldestCheckout, true},
		{"actions/setup-go", oldestSetupGo, true},
		{lintAction, oldestLint, false}, // a command will do as well
	} {
		used := false
		for _, s := range w.steps() {
			if name, ref, _ := strings.Cut(s.Uses.Value, "@"); name == a.name {
				used = true
				if major, ok := majorOf(ref, s.Uses.LineComment); !ok || major < a.oldest {
					old++
					probe.Errorf(t, "ci.action", "ci.yml:%d uses %s@%s. It should be v%d or newer; behind a commit, a comment names the version.", s.Uses.Line, a.name, ref, a.oldest)
				}
			}
		}
		if !used && a.needed {
			probe.Errorf(t, "ci.action", "ci.yml does not use %s any more.", a.name)
		}
	}
	probe.AtMost(t, "steps on actions of old", old, 0, "steps")
	if !w.uses(lintAction) && !w.runs(golangciCommand) {
		probe.Errorf(t, "ci.action", "No step of ci.yml lints: it takes %s of v%d or newer, `golangci-lint run`, or `go run` of golangci-lint's v2 module with `run` behind it.", lintAction, oldestLint)
	}
}

func TestWorkflow_TestsTheRightGoForRaces(t *testing.T) {
	w := readWorkflow(t)
	for _, s := range w.steps() {
		name, _, _ := strings.Cut(s.Uses.Value, "@")
		switch {
		case name == "actions/setup-go" && s.With["go-version-file"] == "":
			for _, v := range s.resolve(s.With["go-version"]) {
				if minor, ok := goMinor(v); !ok || minor < oldestGo {
					probe.Errorf(t, "ci.go", "ci.yml:%d sets up Go %q; the module needs 1.%d. go-version-file: go.mod never grows old.", s.Uses.Line, v, oldestGo)
				}
			}
		case name == lintAction:
			for _, v := range s.resolve(s.With["version"]) {
				if v != "" && v != "latest" && !strings.HasPrefix(v, "v2") {
					probe.Errorf(t, "ci.lint", "ci.yml:%d runs golangci-lint %s, which cannot read a file of version 2.", s.Uses.Line, v)
				}
			}
		case firstGolangci.MatchString(s.Run):
			probe.Errorf(t, "ci.lint", "A step of ci.yml takes %q, which is golangci-lint v1 and cannot read a file of version 2.", firstGolangci.FindString(s.Run))
		}
	}
	if !w.runs(raceTest) {
		probe.Errorf(t, "ci.race", "No step of ci.yml runs `go test -race`.")
	}
}

var (
	raceTest        = regexp.MustCompile(`go test\b[^\n&|;]* -race\b`)
	golangciCommand = regexp.MustCompile(`golangci-lint(@\S+)?["']?( [^\n&|;]*)? run\b`)
	firstGolangci   = regexp.MustCompile(`golangci-lint(/cmd/\S+|:v1\S*|/\S*install\.sh\b.* v1\.\S+)`)
	variable        = regexp.MustCompile(`\$\{\{\s*env\.(\w+)\s*\}\}|\$\{(\w+)\}|\$(\w+)`)
	fromContext     = regexp.MustCompile(`^\$\{\{\s*(matrix|env)\.([\w-]+)\s*\}\}$`)
	goVersion       = regexp.MustCompile(`^[\^~>=v ]*(\d+)\.(\d+|x)\b`)
)

const lintAction = "golangci/golangci-lint-action"

type workflow struct {
	On       yaml.Node         `yaml:"on"`
	Env      map[string]string `yaml:"env"`
	Defaults defaults          `yaml:"defaults"`
	Jobs     map[string]*job   `yaml:"jobs"`
}

type defaults struct {
	Run struct {
		Shell string `yaml:"shell"`
	} `yaml:"run"`
}

type job struct {
	If       string            `yaml:"if"`
	Continue string            `yaml:"continue-on-error"`
	Env      map[string]string `yaml:"env"`
	Defaults defaults          `yaml:"defaults"`
	Strategy struct {
		Matrix map[string]yaml.Node `yaml:"matrix"`
	} `yaml:"strategy"`
	Steps []step `yaml:"steps"`
}

type step struct {
	Uses     yaml.Node         `yaml:"uses"`
	Run      string            `yaml:"run"`
	Env      map[string]string `yaml:"env"`
	Shell    string            `yaml:"shell"`
	With     map[string]string `yaml:"with"`
	If       string            `yaml:"if"`
	Continue string            `yaml:"continue-on-error"`

	job  *job
	flow *workflow
}

func readWorkflow(t *testing.T) *workflow {
	t.Helper()
	b, err := os.ReadFile("ci.yml")
	w := &workflow{}
	if err == nil {
		err = yaml.Unmarshal(b, w)
	}
	if err != nil {
		probe.Fatalf(t, "ci.yaml", "ci.yml cannot be read as a workflow: %v.", err)
	}
	for name, j := range w.Jobs {
		if j == nil {
			probe.Fatalf(t, "ci.yaml", "The job %s of ci.yml is empty.", name)
		}
	}
	return w
}

func (w *workflow) steps() []step {
	var all []step
	for _, j := range w.Jobs {
		for _, s := range j.Steps {
			s.job, s.flow = j, w
			s.Run = s.expand(strings.ReplaceAll(s.Run, "\\\n", " ")) // a line that goes on
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b step) int { return a.Uses.Line - b.Uses.Line })
	return all
}

// runs reports whether a step's command matches.
func (w *workflow) runs(what *regexp.Regexp) bool {
	return slices.ContainsFunc(w.steps(), func(s step) bool { return what.MatchString(s.Run) })
}

// uses reports whether a step uses an action, of any version.
func (w *workflow) uses(action string) bool {
	return slices.ContainsFunc(w.steps(), func(s step) bool { return strings.HasPrefix(s.Uses.Value, action+"@") })
}

// env is a variable as the step sees it: the nearest wins.
func (s step) env(name string) (string, bool) {
	for _, vars := range []map[string]string{s.Env, s.job.Env, s.flow.Env} {
		if v, ok := vars[name]; ok {
			return v, true
		}
	}
	return "", false
}

// expand puts the workflow's own variables into a command, and leaves the
// others as they are.
func (s step) expand(command string) string {
	return variable.ReplaceAllStringFunc(command, func(ref string) string {
		if v, ok := s.env(strings.Join(variable.FindStringSubmatch(ref)[1:], "")); ok {
			return v
		}
		return ref
	})
}

// resolve gives the values that an expression on the matrix or on the
// environment stands for.
func (s step) resolve(v string) []string {
	m := fromContext.FindStringSubmatch(v)
	if m == nil {
		return []string{v}
	}
	if m[1] == "env" {
		own, _ := s.env(m[2])
		return []string{own}
	}
	var list []string
	node := s.job.Strategy.Matrix[m[2]]
	_ = node.Decode(&list)
	if len(list) == 0 {
		return []string{v}
	}
	return list
}

func majorOf(ref, comment string) (int, bool) {
	if len(ref) == 40 {
		ref = strings.TrimSpace(strings.TrimLeft(comment, "# "))
	}
	ref, _, _ = strings.Cut(strings.TrimPrefix(ref, "v"), ".")
	n, err := strconv.Atoi(ref)
	return n, err == nil
}

// goMinor reads 1.26, ^1.26.3, 1.26.x or stable.
func goMinor(v string) (int, bool) {
	if v == "stable" || v == "oldstable" || v == "1.x" {
		return oldestGo, true
	}
	m := goVersion.FindStringSubmatch(v)
	if m == nil || m[1] != "1" {
		return 0, false
	}
	n, err := strconv.Atoi(m[2])
	return n, err == nil
}

func contains(list any, name string) bool {
	all, _ := list.([]any)
	return slices.Contains(all, any(name))
}

func matches(pattern, name string) bool {
	re, err := regexp.Compile(pattern)
	return err == nil && pattern != "" && re.MatchString(name)
}
