package gotool

import (
	"bufio"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// reported reads a stream as Run does; ^ stands for the marker.
func reported(stream string) *Report {
	r := newReport()
	in := bufio.NewReaderSize(strings.NewReader(strings.ReplaceAll(stream, "^", "\x16")), 4096)
	for {
		line, err := in.ReadSlice('\n')
		full := errors.Is(err, bufio.ErrBufferFull)
		r.line(line, full)
		if err != nil && !full {
			break
		}
	}
	r.close()
	return r
}

func TestReport_ReadsTests(t *testing.T) {
	r := reported("^=== RUN   TestA\n    x_test.go:3: hi\n^=== RUN   TestA/sub_one\nplain\n^--- FAIL: TestA/sub_one (0.25s)\n^=== NAME  TestA\n    x_test.go:9: more\n^--- FAIL: TestA (1.50s)\n^=== RUN   TestB\n^--- SKIP: TestB (0.00s)\n^FAIL\nlast words\n")
	require.Equal(t, []string{"TestA", "TestA/sub_one", "TestB"}, r.Order)
	require.Equal(t, "FAIL", r.Final)
	require.Equal(t, "fail", r.Tests["TestA"].Result)
	require.Equal(t, 1.5, r.Tests["TestA"].Seconds)
	require.Equal(t, "    x_test.go:3: hi\n    x_test.go:9: more\n", string(r.Tests["TestA"].Output))
	require.Equal(t, "plain\n", string(r.Tests["TestA/sub_one"].Output))
	require.Equal(t, "skip", r.Tests["TestB"].Result)
	require.Equal(t, "last words\n", string(r.Tail))
}

func TestReport_FindsTheMarkerInMidLine(t *testing.T) {
	r := reported("^=== RUN   TestA\nworking...^--- PASS: TestA (0.00s)\n^=== NAME  \nno newline^PASS\n")
	require.Equal(t, "pass", r.Tests["TestA"].Result)
	require.Equal(t, "working...", string(r.Tests["TestA"].Output))
	require.Equal(t, "no newline", string(r.Tail))
	require.Equal(t, "PASS", r.Final)
}

func TestReport_KeepsAMarkerThatIsNotTheFrameworks(t *testing.T) {
	for _, text := range []string{"a^b\n", "^\n", "^--- PASS: \n", "^--- PASS: TestA\n", "^--- PASS: TestA (0.00s) indeed\n", "^PASSED\n", "^===\n"} {
		r := reported("^=== RUN   TestA\n" + text + "^--- PASS: TestA (0.00s)\n^PASS\n")
		require.Equal(t, 1, r.Tests["TestA"].Ended, "%q", text)
		require.Equal(t, 1, r.Finals, "%q", text)
		require.Equal(t, strings.ReplaceAll(text, "^", "\x16"), string(r.Tests["TestA"].Output))
	}
}

func TestReport_ReadsFindingsAndEvidence(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	r := reported("^=== RUN   TestA\ndots..^=== ATTR  TestA pitstop.finding {\"code\":\"a.b\",\"message\":\"" + long + "\"}\n^=== ATTR  TestA pitstop.evidence {\"name\":\"heap in use\",\"now\":3.5,\"limit\":4,\"bound\":\"max\"}\n^=== ATTR  TestA pitstop.finding no json\n^=== ATTR  TestA other value\n")
	a := r.Tests["TestA"]
	require.Len(t, a.Findings, 1)
	require.Len(t, a.Findings[0].Message, len(long))
	require.Len(t, a.Evidence, 1)
	require.Equal(t, 4.0, *a.Evidence[0].Limit)
	require.Zero(t, a.Ended)
}

func TestReport_CountsForgedLines(t *testing.T) {
	r := reported("^=== RUN   TestA\n^--- PASS: TestA (0.00s)\n^PASS\n^=== RUN   TestA\n^--- FAIL: TestA (0.00s)\n^FAIL\n")
	require.Equal(t, 2, r.Tests["TestA"].Started)
	require.Equal(t, 2, r.Tests["TestA"].Ended)
	require.Equal(t, 2, r.Finals)
	require.Equal(t, "TestA", r.Late)
	plain := reported("--- PASS: TestA (0.00s)\nPASS\n=== RUN   TestB\n")
	require.Empty(t, plain.Order)
	require.Zero(t, plain.Finals)
}

const stacks = "\ngoroutine 7 [running]:\nmain.f()\n\t/x.go:3\n"

func TestReport_TellsACrashFromWordsThatLookLikeOne(t *testing.T) {
	for _, c := range []struct{ name, stream, want string }{
		{"a panic", "^=== RUN   TestA\nx\npanic: boom\n" + stacks, "panic: boom\n" + stacks},
		{"a panic in mid-line", "^=== RUN   TestA\nx panic: boom\n" + stacks, "panic: boom\n" + stacks},
		{"words, then a panic", "^=== RUN   TestA\npanic: no\n^--- PASS: TestA (0.00s)\n^=== RUN   TestB\npanic: boom\n" + stacks, "panic: boom\n" + stacks},
		{"words, then a panic at once", "panic: no\npanic: boom\n" + stacks, "panic: boom\n" + stacks},
		{"a panic, then words", "panic: boom\n" + stacks + "panic: later\n", "panic: boom\n" + stacks + "panic: later\n"},
		{"words, then the stacks that were asked for", "panic: no\nSIGQUIT: quit\n" + stacks, "SIGQUIT: quit\n" + stacks},
		{"words in mid-line alone", "^=== RUN   TestA\nno panic: here\n^--- PASS: TestA (0.00s)\n" + stacks, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, reported(c.stream).Crash)
		})
	}
	r := reported("^=== RUN   TestA\npanic: no\n    x_test.go:3: got 1\n^--- FAIL: TestA (0.00s)\n")
	require.Contains(t, string(r.Tests["TestA"].Output), "x_test.go:3: got 1", "what follows such words is still the test's")
}

func TestReport_KeepsRaces(t *testing.T) {
	bar := "==================\n"
	race := "WARNING: DATA RACE\nWrite at 0x00c000014108 by goroutine 8:\n  main.f()\n"
	r := reported("^=== RUN   TestA\n" + strings.Repeat(bar+race+bar, 5) + "noise\n^--- FAIL: TestA (0.00s)\n^=== RUN   TestB\n" + bar + race)
	require.Len(t, r.Races, keepRaces)
	require.Equal(t, race, r.Races[0])
	require.Equal(t, []string{"TestA", "TestA", "TestA"}, r.RaceIn)
	cut := reported("^=== RUN   TestB\n" + bar + race)
	require.Equal(t, []string{race}, cut.Races, "a report that is cut off is one")
}

func TestReport_KeepsTheBeginningAndTheEnd(t *testing.T) {
	var b strings.Builder
	b.WriteString("^=== RUN   TestA\n")
	for i := range 200_000 {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	b.WriteString("    x_test.go:9: the reason\n^--- FAIL: TestA (0.00s)\n")
	out := string(reported(b.String()).Tests["TestA"].Output)
	require.Less(t, len(out), keepHead+keepEnd+200)
	require.True(t, strings.HasPrefix(out, "line 0\n"))
	require.Contains(t, out, "bytes are left out here")
	require.True(t, strings.HasSuffix(out, "    x_test.go:9: the reason\n"))
}

// A program that prints for ever must cost its own memory, not the checker's.
func TestReport_NeedsLittleMemory(t *testing.T) {
	chunk := slices.Repeat([]byte("x"), 64<<10)
	for _, c := range []struct {
		name, first string
		more        bool
	}{
		{"one endless line", "", true},
		{"lines", "", false},
		{"an endless line of the framework's", "\x16=== ATTR  TestA k ", true},
		{"an endless race", "WARNING: DATA RACE\n", false},
		{"an endless panic", "panic: x\n", false},
		{"within a test", "\x16=== RUN   TestA\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReport()
			r.line([]byte(c.first), c.more && c.first != "")
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for range 512 { // 32 MiB
				r.line(chunk, c.more)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if grew := int64(after.HeapAlloc) - int64(before.HeapAlloc); grew > 3<<20 {
				t.Errorf("32 MiB of output keep %d KiB", grew>>10)
			}
			runtime.KeepAlive(r)
		})
	}
}
