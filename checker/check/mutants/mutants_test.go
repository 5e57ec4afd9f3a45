package mutants

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"pitstop/checker/candidate"
	"pitstop/checker/check"
	"pitstop/checker/gotool"
	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

// ran is a process that ran TestA and TestB so often, of which so many failed.
func ran(endedA, failedA, endedB, failedB int) *gotool.Result {
	final, status := "PASS", 0
	if failedA+failedB > 0 {
		final, status = "FAIL", 1
	}
	return &gotool.Result{Status: status, Report: &gotool.Report{Final: final, Tests: map[string]*gotool.Test{
		"TestA": {Name: "TestA", Started: endedA, Ended: endedA, Failed: failedA, Output: []byte("=== RUN TestA\n    a_test.go:9: 3 sends run on\n--- FAIL: TestA\n")},
		"TestB": {Name: "TestB", Started: endedB, Ended: endedB, Failed: failedB, Output: []byte("    b_test.go:9: a leak\n")},
	}}}
}

func TestRead_CountsRuns(t *testing.T) {
	for _, c := range []struct {
		name   string
		res    *gotool.Result
		change func(*gotool.Result)
		want   outcome
	}{
		{"all pass", ran(3, 0, 3, 0), nil, outcome{passed: 3}},
		{"one test fails each time", ran(3, 3, 3, 0), nil, outcome{failed: 3, words: "a_test.go:9: 3 sends run on"}},
		{"another fails sometimes", ran(3, 0, 3, 2), nil, outcome{passed: 1, failed: 2, words: "b_test.go:9: a leak"}},
		{"a panic in the first run", ran(1, 0, 0, 0), func(r *gotool.Result) {
			r.Report.Final, r.Status, r.Report.Crash = "", 2, "panic: deadlock\n\ngoroutine 1 [running]:\n"
		}, outcome{failed: 1, words: "panic: deadlock goroutine 1 [running]:"}},
		{"a panic in the third run", ran(3, 0, 2, 0), func(r *gotool.Result) {
			r.Report.Final, r.Status, r.Report.Crash = "", 2, "panic: x\n"
		}, outcome{passed: 2, failed: 1, words: "panic: x"}},
		{"a word on all runs at the end", ran(3, 0, 3, 0), func(r *gotool.Result) {
			r.Status, r.Report.Tail = 1, []byte("goleak: Errors on successful test run\n")
		}, outcome{failed: 3, words: "goleak: Errors on successful test run"}},
		{"too slow for any of the repeats", ran(0, 0, 0, 0), func(r *gotool.Result) {
			r.Report.Final, r.Status, r.Stop = "", -1, gotool.StopTime
		}, outcome{slow: true}},
		{"too slow for all runs", ran(2, 0, 2, 0), func(r *gotool.Result) {
			r.Report.Final, r.Status, r.Stop = "", -1, gotool.StopTime
		}, outcome{passed: 2, slow: true}},
		{"no test at all", &gotool.Result{Status: 0, Report: &gotool.Report{Final: "PASS", Tests: map[string]*gotool.Test{}}}, nil, outcome{failed: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.change != nil {
				c.change(c.res)
			}
			require.Equal(t, c.want, read(c.res, []string{"TestA", "TestB"}, 3))
		})
	}
}

func TestJudge_SaysWhatIsWrong(t *testing.T) {
	l := &lesson.Lesson{Slug: "18_leak", Edit: []string{"x_test.go"}}
	g := &grading{env: &check.Env{Candidate: candidate.New(l, nil)}, with: With{Noun: "outbox", Nouns: "outboxes", Prefix: "leak", Seconds: 8}}
	list := []mutant{{Sound: "waits"}, {Sound: "has timers"}, {Broken: "forgets"}, {Broken: "sleeps"}, {Broken: "hangs"}, {Broken: "fires"}}
	var res check.Result
	g.judge(&res, verdict.StageReview, list, []outcome{
		{passed: 19}, {passed: 17, failed: 2, words: "2 left"}, {failed: 19}, {passed: 1, failed: 18}, {failed: 1, stop: gotool.StopTime}, {passed: 19},
	}, 19)
	var codes, said []string
	for _, f := range res.Findings {
		codes, said = append(codes, f.Code), append(said, f.Message)
		require.Equal(t, verdict.StageReview, f.Stage)
		require.Equal(t, "lessons/18_leak/x_test.go", f.File)
	}
	require.Equal(t, []string{"leak.flaky", "leak.hangs", "leak.missed", "leak.flaky"}, codes, "each code once before any comes twice")
	require.Equal(t, []string{
		"your test fails 2 times in 19 on a sound outbox, one that has timers. It said: 2 left",
		"your test does not end within 8 s on an outbox that hangs; bound every wait, and fail with a sentence",
		"your test passes on a broken outbox, one that fires",
		"your test passes 1 times in 19 on a broken outbox, one that sleeps",
	}, said)
	require.Equal(t, "sound outboxes passed, 19 tries", res.Evidence[0].Name)
	require.InDelta(t, 1, res.Evidence[0].Now, 0)
	require.InDelta(t, 1, res.Evidence[1].Now, 0)
	require.False(t, res.Evidence[1].Holds())
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct{ profiles, with, says string }{
		"right":           {"[perf]", "{runs: 20, noun: outbox, nouns: outboxes, prefix: leak}", ""},
		"two profiles":    {"[race, perf]", "{}", "name one"},
		"no profile":      {"[]", "{}", "name one"},
		"an unknown key":  {"[race]", "{times: 3}", "times"},
		"no run":          {"[race]", "{runs: 0}", "at least 1"},
		"a word that is ": {"[race]", "{noun: ''}", "noun"},
	} {
		t.Run(name, func(t *testing.T) {
			var k lesson.Check
			require.NoError(t, yaml.Unmarshal([]byte("kind: mutants\nprofiles: "+c.profiles+"\nwith: "+c.with+"\n"), &k))
			err := Kind{}.Validate(k)
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestTable_IsHeldToItsForm(t *testing.T) {
	env := &check.Env{Candidate: candidate.New(&lesson.Lesson{Slug: "18_leak"}, nil)}
	_, err := table(env)
	require.ErrorContains(t, err, "has no mutants.yaml")
	for src, says := range map[string]string{
		"- name: a\n":                      "say what is broken",
		"- {name: a, broken: x, sound: y}": "say what is broken",
		"- {name: a, wrong: x}":            "wrong",
	} {
		env.Mutants = map[string][]byte{Table: []byte(src)}
		_, err := table(env)
		require.ErrorContains(t, err, says)
	}
}

func TestRead_AHang(t *testing.T) {
	r := ran(0, 0, 0, 0)
	r.Report.Final, r.Status, r.Stop, r.Report.Crash = "", -1, gotool.StopTime, "SIGQUIT: quit"
	require.Equal(t, outcome{failed: 1, stop: gotool.StopTime, stacks: "SIGQUIT: quit", words: "SIGQUIT: quit"}, read(r, []string{"TestA", "TestB"}, 1))
	r.Report.Tests["TestA"].Started = 1
	require.Equal(t, outcome{failed: 1, slow: true, words: "a_test.go:9: 3 sends run on"}, read(r, []string{"TestA", "TestB"}, 1), "it has said what is wrong")
}
