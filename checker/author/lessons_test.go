package author

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pitstop/checker/lesson"
	"pitstop/solutions"
)

// The form that every lesson keeps. It is read from the binary's own copy,
// because the tree's lessons are the learner's.
const (
	mostWords    = 600 // in a README
	leastHint    = 40  // words
	mostHint     = 120
	leastAccept  = 3
	leastReject  = 5
	leastExplain = 100 // words
)

func words(b []byte) int { return len(strings.Fields(string(b))) }

func TestLessons_KeepTheirForm(t *testing.T) {
	archive, err := fs.ReadFile(solutions.Tree(), lesson.PristineFile)
	require.NoError(t, err)
	p, err := lesson.ParsePristine(archive)
	require.NoError(t, err)
	require.NotEmpty(t, p.Lessons)
	for _, l := range p.Lessons {
		t.Run(l.Slug, func(t *testing.T) {
			require.Contains(t, l.Files, "README.md")
			require.LessOrEqual(t, words(l.Files["README.md"]), mostWords, "words in README.md")
			for i, h := range l.Hints {
				n := words([]byte(h))
				require.True(t, leastHint <= n && n <= mostHint, "hint %d has %d words, want %d to %d", i+1, n, leastHint, mostHint)
			}
			require.NotEmpty(t, l.Unsolved, "lesson.yaml: unsolved: name the findings of the unsolved lesson")
			s, err := lesson.LoadSolution(solutions.Tree(), l)
			require.NoError(t, err)
			require.NotZero(t, len(s.Review)+len(s.Mutants), "neither review tests nor mutants")
			require.GreaterOrEqual(t, words(s.Explanation), leastExplain, "words in the explanation")
			require.GreaterOrEqual(t, len(s.Accepted), leastAccept, "accepted variants")
			require.GreaterOrEqual(t, len(s.Rejected), leastReject, "rejected variants")
		})
	}
}

func TestPristine_IsOutOfDateWhenALessonChanges(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module pitstop\n", "go.sum": "", "checker/probe/probe.go": "package probe\n", "lessons/README": "", "solutions/README": "",
	} {
		file := filepath.Join(root, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	slug, _, err := New(root, "tally")
	require.NoError(t, err)
	changed, err := WritePristine(root)
	require.NoError(t, err)
	require.Equal(t, []string{lesson.PristineFile}, changed)
	differ, err := CheckPristine(root)
	require.NoError(t, err)
	require.Empty(t, differ)

	file := filepath.Join(root, "lessons", slug, "tally.go")
	require.NoError(t, os.WriteFile(file, []byte("package tally\n"), 0o644))
	differ, err = CheckPristine(root)
	require.NoError(t, err)
	require.Equal(t, []string{"lessons/" + slug + "/tally.go"}, differ)

	require.NoError(t, os.WriteFile(file, []byte("-- no newline, and a mark --"), 0o644))
	_, err = Pristine(root)
	require.ErrorContains(t, err, "cannot be kept in the pristine copy")
}

func TestNew_RefusesANameThatNoLessonCanHave(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "lessons", "07_slices"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "solutions"), 0o755))
	for _, name := range []string{"", "Pool", "a-b", "7_x", "007_x", "_x", "x_", "../x", "07_other"} {
		_, _, err := New(root, name)
		require.ErrorIs(t, err, ErrSlug, "%q", name)
	}
}
