package candidate

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pitstop/checker/lesson"
)

// shipped is a lesson with a folder that the learner may rearrange.
func shipped() *lesson.Lesson {
	return &lesson.Lesson{
		Number: 1, Slug: "01_x", Edit: []string{"x.go", "deploy/"},
		Files: map[string][]byte{
			"lesson.yaml": []byte("format: 1\n"), "x.go": []byte("package x\n"), "x_test.go": []byte("package x_test\n"),
			"deploy/app.yaml": []byte("kind: App\n"), "testdata/in.txt": []byte("in\n"),
		},
	}
}

// tree writes a workshop with the lesson in it and files laid over it.
func tree(t *testing.T, l *lesson.Lesson, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, b := range l.Files {
		put(t, filepath.Join(root, l.Folder(), name), string(b))
	}
	for name, s := range files {
		put(t, filepath.Join(root, name), s)
	}
	return root
}

func put(t *testing.T, p, s string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
	require.NoError(t, os.WriteFile(p, []byte(s), 0o644))
}

func TestRead_TakesTheLearnersFilesAlone(t *testing.T) {
	l := shipped()
	c, err := Read(tree(t, l, map[string]string{
		"lessons/01_x/more.go": "package x\n", "lessons/01_x/own_test.go": "package x\n", "lessons/01_x/notes.md": "notes\n",
		"lessons/01_x/deploy/new.yaml": "kind: New\n", "lessons/01_x/sub/y.go": "package y\n", "lessons/01_x/testdata/more.txt": "more\n",
		"lessons/01_x/.x.go": "no Go\n", "lessons/01_x/_x.go": "no Go\n",
	}), l)
	require.NoError(t, err)
	require.Empty(t, c.Problems)
	var names []string
	for name := range c.Files {
		names = append(names, name)
	}
	require.ElementsMatch(t, []string{"x.go", "more.go", "deploy/app.yaml", "deploy/new.yaml"}, names)
	require.Len(t, c.Warnings, 1)
	require.Contains(t, c.Warnings[0], "own_test.go is not part of the lesson")
	require.False(t, c.Untouched())
}

func TestRead_LineEndsAreNoChange(t *testing.T) {
	l := shipped()
	files := map[string]string{}
	for name, b := range l.Files {
		files["lessons/01_x/"+name] = "\ufeff" + strings.ReplaceAll(string(b), "\n", "\r\n")
	}
	c, err := Read(tree(t, l, files), l)
	require.NoError(t, err)
	require.Empty(t, c.Warnings)
	require.Empty(t, c.Problems)
	require.True(t, c.Untouched())
	require.Equal(t, files["lessons/01_x/x.go"], string(c.Files["x.go"]), "what is compiled is what the learner has")
}

func TestRead_NamesALinkedFolder(t *testing.T) {
	l := shipped()
	root := tree(t, l, nil)
	deploy := filepath.Join(root, "lessons/01_x/deploy")
	require.NoError(t, os.Rename(deploy, filepath.Join(root, "elsewhere")))
	require.NoError(t, os.Symlink("../../elsewhere", deploy))
	c, err := Read(root, l)
	require.NoError(t, err)
	require.Len(t, c.Problems, 1)
	require.Equal(t, "deploy is a symbolic link, not a plain folder; put the folder itself there", c.Problems[0].Message)
}

func TestOverlay_IsTheWholeBuild(t *testing.T) {
	l := shipped()
	root := tree(t, l, map[string]string{
		"go.mod": "module pitstop\n", "checker/probe/probe.go": "package probe\n", "checker/probe/evil.go": "package probe\n",
		"checker/probe/probe_test.go": "package probe\n", "lessons/01_x/own_test.go": "package x\n", "lessons/01_x/go.mod": "module x\n",
		"lessons/01_x/sub/deep/y.go": "package y\n", "lessons/01_x/old.go": "package x\n",
	})
	base := map[string][]byte{"go.mod": []byte("module pitstop\n"), "checker/probe/probe.go": []byte("package probe\n")}
	c := New(l, map[string][]byte{"x.go": []byte("package x // mended\n")})
	tmp := t.TempDir()
	file, err := c.Overlay(root, tmp, base, map[string][]byte{"review_test.go": []byte("package x_test // review\n")})
	require.NoError(t, err)
	got := replaced(t, root, file)
	require.Equal(t, map[string]string{
		"go.mod": "module pitstop\n", "checker/probe/probe.go": "package probe\n", "checker/probe/evil.go": "",
		"lessons/01_x/x.go": "package x // mended\n", "lessons/01_x/x_test.go": "package x_test\n", "lessons/01_x/lesson.yaml": "format: 1\n",
		"lessons/01_x/testdata/in.txt": "in\n", "lessons/01_x/review_test.go": "package x_test // review\n",
		"lessons/01_x/deploy/app.yaml": "", "lessons/01_x/own_test.go": "", "lessons/01_x/go.mod": "", "lessons/01_x/old.go": "", "lessons/01_x/sub/deep/y.go": "",
	}, got)

	strayed, err := c.Strayed(root, file, base)
	require.NoError(t, err)
	require.False(t, strayed)
	put(t, filepath.Join(root, "lessons/01_x/late.go"), "package x\n")
	strayed, err = c.Strayed(root, file, base)
	require.NoError(t, err)
	require.True(t, strayed, "a file that came later is not in the overlay")
}

func TestOverlay_MakesAFolderThatIsGone(t *testing.T) {
	l := shipped()
	root := t.TempDir()
	c := New(l, l.Unsolve())
	file, err := c.Overlay(root, t.TempDir(), nil, nil)
	require.NoError(t, err)
	require.Len(t, replaced(t, root, file), len(l.Files))
	strayed, err := c.Strayed(root, file, nil)
	require.NoError(t, err)
	require.False(t, strayed)
}

// replaced reads an overlay: what each path within root is replaced with,
// and "" where it is taken away.
func replaced(t *testing.T, root, file string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	var o struct{ Replace map[string]string }
	require.NoError(t, json.Unmarshal(b, &o))
	got := map[string]string{}
	for p, to := range o.Replace {
		rel, err := filepath.Rel(root, p)
		require.NoError(t, err)
		got[rel] = ""
		if to != "" {
			b, err := os.ReadFile(to)
			require.NoError(t, err)
			require.True(t, strings.HasSuffix(to, rel), "the compiler's messages show %s", to)
			got[rel] = string(b)
		}
	}
	return got
}

func TestSum_TellsContentsApart(t *testing.T) {
	l := shipped()
	a := New(l, l.Unsolve())
	b := New(shipped(), l.Unsolve())
	require.Equal(t, a.Sum(), b.Sum())
	b.Files = map[string][]byte{"x.go": []byte("package x // mended\n")}
	require.NotEqual(t, a.Sum(), b.Sum())
	other := shipped()
	other.Files["x_test.go"] = []byte("package x_test // other\n")
	require.NotEqual(t, a.Sum(), New(other, l.Unsolve()).Sum())
}

// whole is a lesson that is built from shipped.
func whole(part *lesson.Lesson) *lesson.Lesson {
	return &lesson.Lesson{
		Number: 2, Slug: "02_whole", Edit: []string{"main.go"}, Uses: []int{part.Number},
		Files: map[string][]byte{"main.go": []byte("package whole\n"), "whole_test.go": []byte("package whole_test\n")},
	}
}

func TestJoin_LaysThePartsToo(t *testing.T) {
	part := shipped()
	l := whole(part)
	root := tree(t, l, map[string]string{"lessons/01_x/x.go": "package x // in the tree\n", "lessons/01_x/stray.go": "package x\n"})
	c := New(l, l.Unsolve())
	c.Join(New(part, map[string][]byte{"x.go": []byte("package x // mended\n"), "deploy/app.yaml": part.Files["deploy/app.yaml"]}))
	file, err := c.Overlay(root, t.TempDir(), nil, nil)
	require.NoError(t, err)
	got := replaced(t, root, file)
	require.Equal(t, "package x // mended\n", got["lessons/01_x/x.go"])
	require.Equal(t, "package whole\n", got["lessons/02_whole/main.go"])
	require.Contains(t, got, "lessons/01_x/stray.go")
	require.Empty(t, got["lessons/01_x/stray.go"], "a file that is of no part is taken away")

	put(t, filepath.Join(root, "lessons/01_x/late.go"), "package x\n")
	strayed, err := c.Strayed(root, file, nil)
	require.NoError(t, err)
	require.True(t, strayed, "a file that came later into a part's folder")
}

func TestJoin_APartsContentCounts(t *testing.T) {
	part := shipped()
	l := whole(part)
	sum := func(files map[string][]byte) (string, bool) {
		c := New(l, l.Unsolve())
		c.Join(New(part, files))
		return c.Sum(), c.Untouched()
	}
	before, untouched := sum(part.Unsolve())
	require.True(t, untouched)
	after, untouched := sum(map[string][]byte{"x.go": []byte("package x // mended\n")})
	require.False(t, untouched)
	require.NotEqual(t, before, after)
}

func TestJoin_APartsProblemIsTheWholesToo(t *testing.T) {
	part := shipped()
	l := whole(part)
	root := tree(t, part, nil)
	require.NoError(t, os.Remove(filepath.Join(root, "lessons/01_x/x.go")))
	broken, err := Read(root, part)
	require.NoError(t, err)
	c := New(l, l.Unsolve())
	c.Join(broken)
	require.Len(t, c.Problems, 1)
	require.Equal(t, "lessons/01_x/x.go", c.Problems[0].File)
}
