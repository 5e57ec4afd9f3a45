package gotest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pitstop/checker/gotool"
	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

var pool = &lesson.Lesson{
	Number: 1, Slug: "01_pool", Edit: []string{"pool.go"},
	Files: map[string][]byte{
		"pool.go":      []byte("package pool\n"),
		"pool_test.go": []byte("package pool_test\n\nt.Log(1)\nt.Errorf(2)\nt.Logf(3)\n"),
	},
}

const raceReport = `WARNING: DATA RACE
Read at 0x00c0000141f8 by goroutine 8:
  pitstop/lessons/01_pool.(*Pool).Len()
      /w/lessons/01_pool/pool.go:31 +0x30
  pitstop/lessons/01_pool_test.TestPool()
      /w/lessons/01_pool/pool_test.go:12 +0x99

Previous write at 0x00c0000141f8 by goroutine 9:
  sync/atomic.AddInt64()
      /go/src/sync/atomic/asm.s:1 +0x1
  pitstop/lessons/01_pool.(*Pool).work()
      /w/lessons/01_pool/pool.go:52 +0x44

Goroutine 9 (running) created at:
  pitstop/lessons/01_pool.New()
      /w/lessons/01_pool/pool.go:20 +0x10
`

func TestRaceSentence_NamesBothPlaces(t *testing.T) {
	for _, c := range []struct{ name, report, says, at string }{
		{"both", raceReport, "two goroutines touch the same memory with nothing between them: pool.go:31 (read) and pool.go:52 (write)", "pool.go:31"},
		{"one of them elsewhere", strings.Replace(raceReport, "/w/lessons/01_pool/pool.go:52", "/go/src/io/io.go:9", 1), "one is at pool.go:31 (read); the stacks show the other", "pool.go:31"},
		{"the first elsewhere", strings.Replace(strings.Replace(raceReport, "/w/lessons/01_pool/pool.go:31", "/go/src/io/io.go:9", 1), "/w/lessons/01_pool/pool_test.go:12", "/go/t.go:1", 1), "one is at pool.go:52 (write)", "pool.go:52"},
		{"atomic", strings.Replace(raceReport, "Previous write", "Previous atomic write", 1), "pool.go:52 (atomic write)", "pool.go:31"},
		{"cut", raceReport[:40], "the stacks say where", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			says, at := raceSentence(pool, c.report)
			require.Contains(t, says, c.says)
			if c.at != "" {
				require.Equal(t, c.at, at.at())
			}
		})
	}
}

const dump = `SIGQUIT: quit
PC=0x52e302 m=0 sigcode=0

goroutine 1 [chan receive]:
testing.(*T).Run(0x1)
	/go/src/testing/testing.go:2109 +0x4e5

goroutine 7 [chan send, 2 minutes]:
pitstop/lessons/01_pool.(*Pool).Submit(...)
	/w/lessons/01_pool/pool.go:40
pitstop/lessons/01_pool_test.TestPool(0x1)
	/w/lessons/01_pool/pool_test.go:9 +0x1

goroutine 8 gp=0x1 m=nil [select]:
pitstop/lessons/01_pool.(*Pool).work(0x1)
	/w/lessons/01_pool/pool.go:61 +0x44
created by pitstop/lessons/01_pool.New in goroutine 7
	/w/lessons/01_pool/pool.go:20 +0x10

goroutine 9 [select]:
pitstop/lessons/01_pool.(*Pool).work(0x1)
	/w/lessons/01_pool/pool.go:61 +0x44

goroutine 10 gp=0x2 m=0 mp=0x6d6e60 [running]:
pitstop/lessons/01_pool.(*Pool).spin(...)
	/w/lessons/01_pool/pool.go:1
`

func TestBlocked_SaysWhereGoroutinesStand(t *testing.T) {
	require.Equal(t,
		"1 goroutine at pool.go:40 (chan send), 2 goroutines at pool.go:61 (select), 1 goroutine at pool.go in (*Pool).spin (running)",
		blocked(stand(pool, dump)))
	require.Empty(t, blocked(stand(pool, "nothing")))
	many := ""
	for _, line := range []string{"1", "2", "3", "4", "5"} {
		many += "goroutine " + line + " [select]:\nf()\n\t/w/lessons/01_pool/pool.go:1" + line + " +0x1\n\n"
	}
	require.True(t, strings.HasSuffix(blocked(stand(pool, many)), ", 2 more places"), blocked(stand(pool, many)))
}

func TestPanicked_PrefersTheLearnersFrame(t *testing.T) {
	text := "panic: boom\n\ngoroutine 9 [running]:\npanic()\n\t/go/panic.go:1\nx()\n\t/w/lessons/01_pool/pool_test.go:8 +0x1\ny()\n\t/w/lessons/01_pool/pool.go:5 +0x1\n\ngoroutine 3 [select]:\nz()\n\t/w/lessons/01_pool/pool.go:61 +0x1\n"
	p, ok := panicked(pool, text)
	require.True(t, ok)
	require.Equal(t, "pool.go:5", p.at())
	p, ok = panicked(pool, strings.Replace(text, "/pool.go:5", "/other/x.go:5", 1))
	require.True(t, ok)
	require.Equal(t, "pool_test.go:8", p.at())
	_, ok = panicked(pool, "panic: boom\n\ngoroutine 9 [running]:\nf()\n\t/go/x.go:1\ncreated by g in goroutine 1\n\t/w/lessons/01_pool/pool.go:61 +0x1\n\ngoroutine 3 [select]:\nz()\n\t/w/lessons/01_pool/pool.go:61 +0x1\n")
	require.False(t, ok, "where it was created, and where others stand, is not where it panicked")
}

func TestFailure_QuotesWhatWasSaid(t *testing.T) {
	for _, c := range []struct{ name, output, says string }{
		{"one line", "    pool_test.go:4: got 3, want 4\n", "got 3, want 4"},
		{"logs around it", "    pool_test.go:3: first\n    pool_test.go:4: got 3\n    pool_test.go:5: last\n", "got 3"},
		{"behind text without a newline", "dots...    pool_test.go:4: got 3\n", "got 3"},
		{"several lines", "    pool_test.go:4: got:\n        3\n", "got:"},
		{"a newline first", "    pool_test.go:4: \n        got 3\n", "got 3"},
		{"testify", "    pool_test.go:4: \n        \tError Trace:\t/w/pool_test.go:4\n        \tError:      \tShould be true\n        \tTest:       \tTestPool\n", "Should be true"},
		{"testify, not equal", "    pool_test.go:4: \n        \tError Trace:\t/w/pool_test.go:4\n        \t            \t/w/pool_test.go:9\n        \tError:      \tNot equal: \n        \t            \texpected: 4\n        \t            \tactual  : 3\n        \t            \t\n        \t            \tDiff:\n        \t            \t-4\n        \tTest:       \tTestPool\n        \tMessages:   \tafter Close\n", "Not equal: expected: 4, actual: 3 (after Close)"},
		{"testify, an error", "    pool_test.go:4: \n        \tError Trace:\t/w/pool_test.go:4\n        \tError:      \tReceived unexpected error:\n        \t            \tpool: closed\n        \tTest:       \tTestPool\n", "Received unexpected error: pool: closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := failures(pool, nil, []byte(c.output))
			require.Len(t, got, 1)
			require.Equal(t, c.says, got[0].sentence())
			require.Equal(t, 4, got[0].line)
		})
	}
	require.Empty(t, failures(pool, nil, []byte("    testing.go:1712: race detected during execution of test\n")))
	require.Len(t, failures(pool, nil, []byte("    review_test.go:9: got 3\n")), 1)
}

// run is a finished run of TestA and TestB, as change leaves it.
func run(change func(*gotool.Result)) []string {
	r := &gotool.Report{Tests: map[string]*gotool.Test{}, Final: "PASS", Finals: 1}
	for _, name := range []string{"TestA", "TestB"} {
		r.Order = append(r.Order, name)
		r.Tests[name] = &gotool.Test{Name: name, Started: 1, Ended: 1, Result: "pass"}
	}
	res := &gotool.Result{Report: r, Limits: gotool.Limits{Time: 3 * time.Second, Output: 8 << 20, Memory: 1 << 30}}
	change(res)
	j := judge{lesson: pool, stage: verdict.StageVisible, res: res, expected: []string{"TestA", "TestB"}}
	found, err := j.findings()
	var codes []string
	if err != nil {
		codes = append(codes, "error")
	}
	for _, f := range found {
		codes = append(codes, f.Code)
	}
	return codes
}

func TestJudge_TrustsNoSingleSign(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*gotool.Result)
		want   []string
	}{
		{"all is well", func(*gotool.Result) {}, nil},
		{"status 1", func(r *gotool.Result) { r.Status = 1 }, []string{"test.exit"}},
		{"status 66 without a report", func(r *gotool.Result) { r.Status = 66 }, []string{"error"}},
		{"status 66 with one", func(r *gotool.Result) {
			r.Status, r.Report.Races, r.Report.RaceIn = 66, []string{raceReport}, []string{""}
		}, []string{"race.data"}},
		{"killed", func(r *gotool.Result) { r.Status, r.Signal = -1, "killed" }, []string{"test.exit"}},
		{"no final word", func(r *gotool.Result) { r.Report.Final, r.Report.Finals = "", 0 }, []string{"report.cut"}},
		{"two final words", func(r *gotool.Result) { r.Report.Finals = 2 }, []string{"report.forged"}},
		{"final FAIL and status 0", func(r *gotool.Result) { r.Report.Final = "FAIL" }, []string{"report.cut"}},
		{"a test that never ran", func(r *gotool.Result) { delete(r.Report.Tests, "TestB"); r.Report.Order = r.Report.Order[:1] }, []string{"test.never_ran"}},
		{"a test that has no end", func(r *gotool.Result) { r.Report.Tests["TestB"].Ended = 0 }, []string{"report.cut"}},
		{"a test that began twice", func(r *gotool.Result) { r.Report.Tests["TestB"].Started = 2 }, []string{"report.forged"}},
		{"a test that only ended", func(r *gotool.Result) { r.Report.Tests["TestB"].Started = 0 }, []string{"report.forged", "test.never_ran"}},
		{"none was run by the framework's word", func(r *gotool.Result) { r.Report.Tail = []byte("testing: warning: no tests to run\n") }, []string{"report.forged"}},
		{"leftovers", func(r *gotool.Result) { r.Leftover = 2 }, []string{"leak.process"}},
		{"words that look like a panic", func(r *gotool.Result) { r.Report.Crash = "panic: no\n" }, nil},
		{"a panic", func(r *gotool.Result) { r.Report.Crash, r.Status = "panic: boom\n", 2 }, []string{"test.panic"}},
		{"time", func(r *gotool.Result) { r.Stop, r.Status, r.Signal = gotool.StopTime, -1, "killed" }, []string{"limit.time"}},
		{"output", func(r *gotool.Result) { r.Stop = gotool.StopOutput }, []string{"limit.output"}},
		{"memory", func(r *gotool.Result) { r.Stop = gotool.StopMemory }, []string{"limit.memory"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, run(c.change))
		})
	}
}
