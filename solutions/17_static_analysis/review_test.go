//go:build review

package geo_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pitstop/checker/probe"
	geo "pitstop/lessons/17_static_analysis"
)

type traceKey struct{}

func TestReview_EveryRequestCarriesItsCallersContext(t *testing.T) {
	t.Parallel()
	const trace = "order 4711"
	for _, name := range []string{"Locate", "Ready", "Warm"} {
		s := newService(status(http.StatusOK, place))
		c := s.client(geo.Config{})
		ctx := context.WithValue(t.Context(), traceKey{}, trace)
		switch name {
		case "Locate":
			_, _ = c.Locate(ctx, "Kai 3")
		case "Ready":
			_ = c.Ready(ctx)
		default:
			within(t, c.Warm(ctx, []string{"Kai 3"}), "geo.warm_end", "the channel that Warm returned was not closed")
		}
		seen := s.traces()
		if len(seen) != 1 || seen[0] != any(trace) {
			probe.Errorf(t, "geo.context", "The caller of %s put %q into its context, and the requests that were sent carry %v: they are not made with that context.", name, trace, seen)
		}
	}
}

func TestReview_LocateEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	s := newService(hangs)
	defer s.release()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := s.client(geo.Config{Timeout: time.Minute, Attempts: 5})
	done := make(chan error, 1)
	go func() { _, err := c.Locate(ctx, "Kai 3"); done <- err }()
	within(t, s.entered, "geo.locate", "Locate sent no request")
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, geo.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			probe.Errorf(t, "geo.cause", "The caller of Locate left; errors.Is finds ErrUnavailable in the error: %v, and context.Canceled: %v. It is %v.", errors.Is(err, geo.ErrUnavailable), errors.Is(err, context.Canceled), err)
		}
	case <-time.After(patience):
		probe.Errorf(t, "geo.context", "The caller of Locate left, and %v later Locate still waits.", patience)
	}
	if n := s.requests.Load(); n > 1 {
		probe.Errorf(t, "geo.retry", "%d requests were sent for a caller that had left during the first.", n)
	}
}

func TestReview_OneRequestTakesNoLongerThanTimeout(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Ready", "Locate"} {
		s := newService(hangs)
		done := make(chan struct{})
		c := s.client(geo.Config{Timeout: 20 * time.Millisecond, Attempts: 2})
		var err error
		go func() {
			defer close(done)
			if name == "Ready" {
				err = c.Ready(t.Context())
			} else {
				_, err = c.Locate(t.Context(), "Kai 3")
			}
		}()
		select {
		case <-done:
			if !errors.Is(err, geo.ErrUnavailable) {
				probe.Errorf(t, "geo.error", "The service hung, and %s gave %v, which is not ErrUnavailable.", name, err)
			}
		case <-time.After(patience):
			probe.Errorf(t, "geo.timeout", "The service hangs, Timeout is 20ms, and %v later %s still waits.", patience, name)
		}
		s.release()
		<-done
	}
}

func TestReview_NoTimerIsLeft(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		answer answer
	}{
		{"answered 200", status(http.StatusOK, place)}, {"answered 200 and half a place", status(http.StatusOK, place[:20])},
		{"answered 404", status(http.StatusNotFound, "no")}, {"answered 503", status(http.StatusServiceUnavailable, "later")},
		{"could not be reached", fails(errors.New("connection refused"))},
	} {
		for _, call := range []string{"Locate", "Ready"} {
			s := newService(c.answer)
			s.call(t, call, geo.Config{Timeout: time.Hour, Attempts: 2})
			eventually(func() bool { return s.pending() == 0 })
			if n := s.pending(); n > 0 {
				probe.Errorf(t, "geo.timer", "The service %s, and %d timers of %s still run after it has returned.", c.name, n, call)
			}
		}
	}
	parent := &watched{Context: context.Background(), done: make(chan struct{})}
	s := newService(status(http.StatusOK, place))
	within(t, s.client(geo.Config{}).Warm(parent, []string{"Kai 3"}), "geo.warm_end", "the channel that Warm returned was not closed")
	eventually(func() bool { return parent.children.Load() == 0 })
	if n := parent.children.Load(); n > 0 {
		probe.Errorf(t, "geo.timer", "Warm has ended, and %d contexts that it made still hang on its caller's.", n)
	}
}

// watched is a context that knows how many others wait for it.
type watched struct {
	context.Context
	done     chan struct{}
	children atomic.Int64
}

func (w *watched) Done() <-chan struct{} { return w.done }

func (w *watched) AfterFunc(func()) (stop func() bool) {
	w.children.Add(1)
	var once sync.Once
	return func() bool {
		once.Do(func() { w.children.Add(-1) })
		return true
	}
}

func TestReview_LocateAsksAgainOnlyWhereThatHelps(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	s := newService(func(s *service, r *http.Request) (*http.Response, error) {
		if n.Add(1) < 3 {
			return status(http.StatusServiceUnavailable, "")(s, r)
		}
		return status(http.StatusOK, place)(s, r)
	})
	c := s.client(geo.Config{Attempts: 3})
	if p, err := c.Locate(t.Context(), "Kai 3"); err != nil || p.Zone != "L1" {
		probe.Errorf(t, "geo.retry", "The service answered at the third of 3 attempts, and Locate returned %+v, %v after %d requests.", p, err, n.Load())
	}
	if st := c.Stats(); st.Asked != 3 || st.Failed != 0 {
		probe.Errorf(t, "geo.stats", "Three requests were sent and the call succeeded; Stats says asked %d, failed %d.", st.Asked, st.Failed)
	}
	for _, e := range []struct {
		code, want int
		text       string
	}{
		{http.StatusNotFound, 1, "no"}, {http.StatusServiceUnavailable, 3, "later"}, {http.StatusOK, 3, place[:20]},
		{http.StatusOK, 3, "null"}, {http.StatusOK, 3, "{}"}, {http.StatusOK, 3, `{"error":"starting"}`},
	} {
		s := newService(status(e.code, e.text))
		c := s.client(geo.Config{Attempts: 3})
		p, err := c.Locate(t.Context(), "Kai 3")
		got := s.requests.Load()
		if got > int64(e.want) || e.code == http.StatusServiceUnavailable && got != int64(e.want) {
			probe.Errorf(t, "geo.retry", "The service answers %d each time, and Locate with 3 attempts sent %d requests, not %d.", e.code, got, e.want)
		}
		if err == nil {
			probe.Errorf(t, "geo.null_island", "The service answers %d with %q each time, which names no place, and Locate returns %v, %v and no error.", e.code, e.text, p.Lat, p.Lon)
		} else if e.code == http.StatusOK && !errors.Is(err, geo.ErrUnavailable) {
			probe.Errorf(t, "geo.error", "The service answers %d with %q each time, and Locate gives %q, which is not ErrUnavailable.", e.code, e.text, err)
		}
		if st := c.Stats(); st.Failed != 1 || int64(st.Asked) != got {
			probe.Errorf(t, "geo.stats", "One call failed after %d requests; Stats says asked %d, failed %d.", got, st.Asked, st.Failed)
		}
		if _, err := c.Locate(t.Context(), "Kai 3"); err == nil {
			probe.Errorf(t, "geo.null_island", "What Locate could not find out it remembers: the second call returns a place nobody named.")
		}
	}
}

func TestReview_StatsIsASnapshot(t *testing.T) {
	t.Parallel()
	s := newService(status(http.StatusOK, place))
	c := s.client(geo.Config{})
	before := c.Stats()
	s.locate(t, c, "Kai 3")
	s.locate(t, c, "Kai 3")
	if before.Asked != 0 || before.Hits != 0 {
		probe.Errorf(t, "geo.snapshot", "Stats was taken before the first call, and after two calls it says asked %d, hits %d.", before.Asked, before.Hits)
	}

	const callers, calls = 8, 25
	var wg sync.WaitGroup
	wg.Go(func() {
		for range calls {
			now := c.Stats()
			_ = now.String()
		}
	})
	for i := range callers {
		wg.Go(func() {
			for j := range calls {
				_, _ = c.Locate(t.Context(), fmt.Sprintf("Kai %d/%d", i, j%10)) // 8 callers, each its own street
			}
		})
	}
	wg.Wait()
	st := c.Stats()
	if got, want := st.Asked+st.Hits, 2+callers*calls; !probe.Equal(t, "calls of 8 callers that were counted", got, want, "calls") {
		probe.Errorf(t, "geo.stats", "%d calls were made from %d goroutines, and Stats accounts for %d.", want, callers, got)
	}
	if int64(st.Asked) != s.requests.Load() {
		probe.Errorf(t, "geo.stats", "%d requests were sent, and Stats says %d.", s.requests.Load(), st.Asked)
	}

	// All know the address now: nothing is written but the count. Somebody reads it all the while.
	var over atomic.Bool
	var reader sync.WaitGroup
	reader.Go(func() {
		for last := 0; !over.Load(); {
			now := c.Stats()
			if now.Hits < last {
				probe.Errorf(t, "geo.snapshot", "Stats says that %d calls found what was known, and a moment later %d.", last, now.Hits)
			}
			last = now.Hits
		}
	})
	for range callers {
		wg.Go(func() {
			for range 10 * calls {
				_, _ = c.Locate(t.Context(), "Kai 3")
			}
		})
	}
	wg.Wait()
	over.Store(true)
	reader.Wait()
	if got, want := c.Stats().Hits-st.Hits, 10*callers*calls; !probe.Equal(t, "hits of 8 callers that were counted", got, want, "hits") {
		probe.Errorf(t, "geo.stats", "%d calls found what was known, from %d goroutines, and Stats counts %d hits.", want, callers, got)
	}
}

func TestReview_ReadySaysWhatTheServiceSays(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection refused")
	for _, c := range []struct {
		name   string
		answer answer
		cause  error // nil: any
		ready  bool
	}{
		{"answers 200", status(http.StatusOK, "ready"), nil, true},
		{"answers 503", status(http.StatusServiceUnavailable, "starting"), nil, false},
		{"answers 404", status(http.StatusNotFound, "no"), nil, false},
		{"answers 500", status(http.StatusInternalServerError, ""), nil, false},
		{"cannot be reached", fails(broken), broken, false},
	} {
		s := newService(c.answer)
		err := s.client(geo.Config{}).Ready(t.Context())
		switch {
		case c.ready && err != nil:
			probe.Errorf(t, "geo.ready", "The service %s, and Ready gives %v.", c.name, err)
		case !c.ready && !errors.Is(err, geo.ErrUnavailable):
			probe.Errorf(t, "geo.ready", "The service %s, and Ready gives %v, which is not ErrUnavailable.", c.name, err)
		case c.cause != nil && !errors.Is(err, c.cause):
			probe.Errorf(t, "geo.cause", "The service %s, and the error of Ready, %v, does not hold the cause.", c.name, err)
		}
	}
}

func TestReview_WarmReturnsAtOnceAndEnds(t *testing.T) {
	t.Parallel()
	addresses := []string{"Kai 1", "Kai 2", "Kai 3", "Kai 4"}
	for _, c := range []struct {
		name string
		cfg  geo.Config
		code string
		end  bool // the caller leaves
	}{
		{"its caller left", geo.Config{Timeout: time.Minute, Attempts: 1}, "geo.warm_outlives", true},
		{"WarmTime was over", geo.Config{Timeout: time.Minute, WarmTime: 20 * time.Millisecond, Attempts: 1}, "geo.warm_forever", false},
	} {
		s := newService(hangs)
		ctx, cancel := context.WithCancel(t.Context())
		client := s.client(c.cfg)
		started := make(chan (<-chan struct{}), 1)
		go func() { started <- client.Warm(ctx, addresses) }()
		var done <-chan struct{}
		select {
		case done = <-started:
		case <-time.After(patience):
			probe.Errorf(t, "geo.warm_waits", "Warm has not returned after %v while the service hangs: its caller waits.", patience)
			cancel()
			s.release()
			return
		}
		within(t, s.entered, "geo.warm", "Warm had sent no request")
		select {
		case <-done:
			if c.end {
				probe.Errorf(t, "geo.warm_end", "The channel that Warm returned was closed while its first request was still under way.")
			}
		default:
		}
		if c.end {
			cancel()
		}
		select {
		case <-done:
		case <-time.After(patience):
			probe.Errorf(t, c.code, "Warm still works %v after %s.", patience, c.name)
		}
		if n := s.requests.Load(); n > 1 {
			probe.Errorf(t, c.code, "Warm sent %d requests, where %s during the first.", n, c.name)
		}
		cancel()
		s.release()
	}

	s := newService(func(s *service, r *http.Request) (*http.Response, error) {
		if strings.Contains(r.URL.RawQuery, "2") {
			return status(http.StatusNotFound, "no")(s, r)
		}
		return status(http.StatusOK, place)(s, r)
	})
	c := s.client(geo.Config{})
	within(t, c.Warm(t.Context(), addresses), "geo.warm_end", "the channel that Warm returned was not closed")
	for _, a := range []string{"Kai 1", "Kai 3", "Kai 4"} {
		s.locate(t, c, a)
	}
	if n := c.Stats().Hits; n != 3 {
		probe.Errorf(t, "geo.warm", "One of %d addresses is unknown to the service, and Warm remembered %d of the other 3.", len(addresses), n)
	}
}

func (s *service) traces() []any {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []any
	for _, ctx := range s.contexts {
		all = append(all, ctx.Value(traceKey{}))
	}
	return all
}

func TestReview_NothingIsExcludedFromTheLinters(t *testing.T) {
	l, _ := readLint(t)
	x := l.Linters.Exclusions
	for _, p := range x.Paths {
		if matches(p, "geo.go") || matches(p, "internal/route/route.go") {
			probe.Errorf(t, "lint.excluded", "linters.exclusions.paths holds %q, which takes the service's own code away from every linter.", p)
		}
	}
	for _, p := range x.PathsExcept {
		if !matches(p, "geo.go") || !matches(p, "internal/route/route.go") {
			probe.Errorf(t, "lint.excluded", "linters.exclusions.paths-except holds %q: what it does not match, as the service's own code, is not looked at.", p)
		}
	}
	for _, r := range x.Rules {
		everywhere := (r.Path == "" || matches(r.Path, "geo.go")) && (r.PathExcept == "" || !matches(r.PathExcept, "geo.go"))
		own := len(r.Linters) == 0 || slices.ContainsFunc(r.Linters, func(n string) bool { return slices.Contains(intended, n) })
		if everywhere && own && (r.Text == "" || r.Text == ".*") && r.Source == "" {
			probe.Errorf(t, "lint.excluded", "A rule of linters.exclusions silences %v in geo.go.", r.Linters)
		}
	}
	if checks, ok := l.Linters.Settings["staticcheck"]["checks"].([]any); ok && !slices.ContainsFunc(checks, func(c any) bool {
		text := fmt.Sprint(c)
		return text == "all" || text == "*" || strings.HasPrefix(text, "SA")
	}) {
		probe.Errorf(t, "lint.excluded", "staticcheck runs, and with settings.staticcheck.checks of %v it looks for nothing that is wrong.", checks)
	}
	vet := l.Linters.Settings["govet"]
	for _, name := range []string{"lostcancel", "copylocks"} {
		if contains(vet["disable"], name) || vet["disable-all"] == true && !contains(vet["enable"], name) {
			probe.Errorf(t, "lint.excluded", "govet runs without %s, which it had before.", name)
		}
	}
	if code := l.Run.ExitCode; code != nil && fmt.Sprint(code) == "0" {
		probe.Errorf(t, "lint.excluded", "run.issues-exit-code is 0: findings no longer fail the build.")
	}
	if tests := l.Run.Tests; tests == false {
		probe.Errorf(t, "lint.excluded", "run.tests is false: test files were linted before.")
	}
	if l.Issues.New == true || l.Issues.NewRev != nil || l.Issues.NewPatch != nil || l.Issues.NewBase != nil {
		probe.Errorf(t, "lint.excluded", "issues.new hides what is in the code already.")
	}
}

var (
	forgives   = regexp.MustCompile(`\|\|\s*(true|:|exit 0|echo\b)|;\s*true\s*$|(?m)^\s*set \+e\b`)
	forgivesIn = regexp.MustCompile(`issues-exit-code[= ]*0|--new\b|--new-from`)
)

func TestReview_AFailureFailsTheWorkflow(t *testing.T) {
	w := readWorkflow(t)
	for name, j := range w.Jobs {
		if j.Continue != "" && j.Continue != "false" {
			probe.Errorf(t, "ci.ignored", "The job %s says continue-on-error: whatever it finds, the workflow is green.", name)
		}
		if never(j.If) {
			probe.Errorf(t, "ci.ignored", "The job %s never runs: if is %s.", name, j.If)
		}
	}
	for _, s := range w.steps() {
		what := s.Uses.Value + s.Run
		if s.Continue != "" && s.Continue != "false" {
			probe.Errorf(t, "ci.ignored", "The step %q says continue-on-error: what it finds fails nothing.", what)
		}
		if never(s.If) {
			probe.Errorf(t, "ci.ignored", "The step %q never runs: if is %s.", what, s.If)
		}
		if raceTest.MatchString(s.Run) && forgives.MatchString(s.Run) || golangciCommand.MatchString(s.Run) && (forgives.MatchString(s.Run) || forgivesIn.MatchString(s.Run)) || forgivesIn.MatchString(s.With["args"]) || s.With["only-new-issues"] == "true" {
			probe.Errorf(t, "ci.ignored", "The step %q finds something and the workflow stays green.", what)
		}
		if command := s.piped(); command != "" {
			probe.Errorf(t, "ci.ignored", "A step of ci.yml pipes %q and succeeds when the last command of the pipe does, whatever came of the first. GitHub runs steps with bash -e, which is not pipefail: write shell: bash, or set -o pipefail.", command)
		}
		if strings.HasPrefix(s.Uses.Value, "actions/setup-go@") && s.With["go-version-file"] == "" && s.With["go-version"] == "" {
			probe.Errorf(t, "ci.go", "A step uses setup-go and names no Go: it takes what the machine has.")
		}
	}
	if !triggers(w, "pull_request") || !triggers(w, "push") {
		probe.Errorf(t, "ci.trigger", "ci.yml ran for pushes and for pull requests, and does not for both any more.")
	}
}

var (
	quoted    = regexp.MustCompile(`'[^']*'|"[^"]*"`)
	separated = regexp.MustCompile(`\n|;|&&|\|\|`)
)

// piped gives a command that checks the code and whose status is lost in a
// pipe. Without a shell, GitHub runs bash -e; shell: bash adds pipefail.
func (s step) piped() string {
	shell := cmp.Or(s.Shell, s.job.Defaults.Run.Shell, s.flow.Defaults.Run.Shell)
	if shell == "bash" || strings.Contains(shell+s.Run, "pipefail") || strings.Contains(s.Run, "PIPESTATUS") {
		return ""
	}
	for _, command := range separated.Split(quoted.ReplaceAllString(s.Run, "''"), -1) {
		checks, _, piped := strings.Cut(command, "|")
		if piped && (raceTest.MatchString(checks) || golangciCommand.MatchString(checks)) {
			return strings.TrimSpace(command)
		}
	}
	return ""
}

func never(cond string) bool { return slices.Contains([]string{"false", "${{ false }}"}, cond) }

func triggers(w *workflow, event string) bool {
	if w.On.Value == event {
		return true
	}
	for i, n := range w.On.Content {
		// Of a mapping the keys, of a list all.
		if n.Value == event && (len(n.Content) == 0) && (w.On.Tag != "!!map" || i%2 == 0) {
			return true
		}
	}
	return false
}
