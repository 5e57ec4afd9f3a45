package check

import (
	"testing"

	"github.com/stretchr/testify/require"

	"pitstop/checker/candidate"
	"pitstop/checker/lesson"
)

var pool = &lesson.Lesson{
	Number: 1, Slug: "01_pool", Edit: []string{"pool.go"},
	Files: map[string][]byte{"pool.go": []byte("package pool\n"), "pool_test.go": []byte("package pool_test\n")},
}

func TestCompileFindings_BlamesWhoWroteIt(t *testing.T) {
	const output = "# pitstop/lessons/01_pool\n../tmp/overlay1/lessons/01_pool/pool.go:3:5: undefined: q\n/go/mod/lessons/09_y/y.go:1:1: other\n../tmp/lessons/01_pool/pool_test.go:9:2: undefined: pool.New\n"
	mended := candidate.New(pool, map[string][]byte{"pool.go": []byte("package pool\nvar x = q\n")})
	got := CompileFindings(mended, output)
	require.Len(t, got, 2)
	require.Equal(t, "pool.go does not compile: line 3: undefined: q", got[0].Message)
	require.Equal(t, "lessons/01_pool/pool.go", got[0].File)
	require.Contains(t, got[1].Message, "keep the exported names")
	require.Empty(t, CompileFindings(candidate.New(pool, pool.Unsolve()), output), "an untouched lesson is the authors'")
	require.Empty(t, CompileFindings(mended, "go: no space left on device\n"))
}

func TestCompileFindings_ATestOfTheLearners(t *testing.T) {
	l := &lesson.Lesson{Number: 1, Slug: "01_pool", Edit: []string{"pool_test.go"}, Files: pool.Files}
	mended := candidate.New(l, map[string][]byte{"pool_test.go": []byte("package pool_test\nvar x = q\n")})
	got := CompileFindings(mended, "lessons/01_pool/pool_test.go:2:9: undefined: q\n")
	require.Len(t, got, 1)
	require.Equal(t, "pool_test.go does not compile: line 2: undefined: q", got[0].Message)
}

func TestCompileFindings_NamesThePartThatIsBroken(t *testing.T) {
	part := &lesson.Lesson{Number: 5, Slug: "05_part", Edit: []string{"p.go"}, Files: map[string][]byte{"p.go": []byte("package p\n")}}
	whole := &lesson.Lesson{Number: 24, Slug: "24_whole", Edit: []string{"w.go"}, Files: map[string][]byte{"w.go": []byte("package w\n")}}
	c := candidate.New(whole, whole.Unsolve())
	c.Join(candidate.New(part, map[string][]byte{"p.go": []byte("package p\nfunc f() int {}\n")}))
	found := CompileFindings(c, "# pitstop/lessons/05_part\nlessons/05_part/p.go:2:15: missing return\n")
	require.Len(t, found, 1)
	require.Equal(t, "build.compile", found[0].Code)
	require.Equal(t, "lessons/05_part/p.go", found[0].File)
	require.Equal(t, "this lesson is built from yours, and p.go does not compile: line 2: missing return; mend it there, or `bin/checker reset 05` puts the lesson's file back", found[0].Message)
}

func TestTestNames_AreWhatTheGoCommandRuns(t *testing.T) {
	names, err := TestNames(map[string][]byte{
		"b_test.go":   []byte("package x\nimport \"testing\"\nfunc TestMain(m *testing.M) {}\nfunc TestB(t *testing.T) {}\nfunc Testing(t *testing.T) {}\nfunc Test(t *testing.T) {}\nfunc Test_b(t *testing.T) {}\nfunc (s suite) TestS(t *testing.T) {}\nfunc TestÄ(t *testing.T) {}\n"),
		"a_test.go":   []byte("package x\nfunc TestA(t *testing.T) {}\n"),
		"x.go":        []byte("package x\nfunc TestX(t *testing.T) {}\n"),
		"d/d_test.go": []byte("package d\nfunc TestD(t *testing.T) {}\n"),
	})
	require.NoError(t, err)
	require.Equal(t, []string{"TestA", "TestB", "Test", "Test_b", "TestÄ"}, names)
}
