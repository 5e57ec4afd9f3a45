package lesson

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

const meta = `format: 1
title: A pool
module: Goroutines
minutes: 10
edit: [pool.go, deploy/]
checks:
  - kind: test
    profiles: [race]
hints: [a, b, c]
`

func tree(meta string) fstest.MapFS {
	return fstest.MapFS{
		"lessons/03_pool/lesson.yaml":   {Data: []byte(meta)},
		"lessons/03_pool/pool.go":       {Data: []byte("package pool\n")},
		"lessons/03_pool/pool_test.go":  {Data: []byte("package pool_test\n")},
		"lessons/03_pool/deploy/a.yaml": {Data: []byte("a: 1\n")},
	}
}

func TestLoad_NamesWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"an unknown key":      {"minutes:", "minuets:", "line 4: field minuets not found"},
		"another format":      {"format: 1", "format: 2", "this checker reads format 1"},
		"two hints":           {"[a, b, c]", "[a, b]", "hints: 2, want three"},
		"no such file":        {"pool.go", "pond.go", "no such file pond.go"},
		"metadata to edit":    {"pool.go", "lesson.yaml", "not the learner's to change"},
		"a path out of it":    {"pool.go", "../x.go", "not a path within"},
		"no minutes":          {"minutes: 10", "minutes: 0", "minutes: state how long"},
		"no checks":           {"  - kind: test\n    profiles: [race]\n", "  []\n", "checks: none"},
		"a trailing document": {"[a, b, c]\n", "[a, b, c]\n---\nx: 1\n", "more than one document"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(meta, c.old, c.new, 1)
			require.NotEqual(t, meta, changed)
			_, err := Load(tree(changed))
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "lessons/03_pool")
		})
	}
}

func TestLesson_EditableIsWhatIsNamedAndNewGoFiles(t *testing.T) {
	all, err := Load(tree(meta))
	require.NoError(t, err)
	l := all[0]
	require.Equal(t, 3, l.Number)
	for name, want := range map[string]bool{
		"pool.go": true, "more.go": true, "deploy/a.yaml": true, "deploy/new/b.yaml": true,
		"pool_test.go": false, "mine_test.go": false, "lesson.yaml": false, "README.md": false, "sub/x.go": false, "deployed.yaml": false,
	} {
		require.Equal(t, want, l.Editable(name), name)
	}
	require.Len(t, l.Unsolve(), 2)
}

func TestFind_TakesNumberSlugAndFolder(t *testing.T) {
	all, err := Load(tree(meta))
	require.NoError(t, err)
	for _, arg := range []string{"3", "03", "03_pool", "pool", "Pool", "lessons/03_pool", "lessons/03_pool/", "./lessons/03_pool", `lessons\03_pool`} {
		l, err := Find(all, arg)
		require.NoError(t, err, arg)
		require.Equal(t, "03_pool", l.Slug)
	}
	for arg, want := range map[string]string{"4": "no lesson 4", "po": "did you mean 03_pool", "x": "checker list"} {
		_, err := Find(all, arg)
		require.ErrorContains(t, err, want, arg)
	}
}

func TestLoadSolution_ReadsVariants(t *testing.T) {
	all, err := Load(tree(meta))
	require.NoError(t, err)
	fsys := tree(meta)
	put := func(name, text string) { fsys["solutions/03_pool/"+name] = &fstest.MapFile{Data: []byte(text)} }
	put("pool.go", "package pool // mended\n")
	put("deploy/a.yaml", "a: 2\n")
	put("review_test.go", "package pool_test\n")
	put("testdata/accepted/other.go", "package pool // other\n")
	put("testdata/rejected/twice.txtar", "finding: pool.twice\n-- deploy/a.yaml --\n-- deploy/b.yaml --\nb: 1\n")
	s, err := LoadSolution(fsys, all[0])
	require.NoError(t, err)
	require.Len(t, s.Reference, 2)
	require.Equal(t, "package pool // other\n", string(s.Accepted[0].Files["pool.go"]))
	require.Equal(t, "a: 2\n", string(s.Accepted[0].Files["deploy/a.yaml"]))
	require.Equal(t, "pool.twice", s.Rejected[0].Finding)
	require.NotContains(t, s.Rejected[0].Files, "deploy/a.yaml", "an empty file takes it away")
	require.Contains(t, s.Rejected[0].Files, "deploy/b.yaml")

	put("testdata/rejected/bare.go", "package pool\n")
	_, err = LoadSolution(fsys, all[0])
	require.ErrorContains(t, err, "line 1 must name the finding")
}
