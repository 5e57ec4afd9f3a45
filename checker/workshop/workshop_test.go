package workshop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"pitstop/checker/lesson"
	"pitstop/checker/progress"
)

func TestLock_SecondCheckerWaitsAndThenSaysWhoHasIt(t *testing.T) {
	root := t.TempDir()
	progress.Open(root)
	first, second := &Workshop{Root: root}, &Workshop{Root: root}
	unlock, err := first.Lock(t.Context(), func(string) { t.Error("the first had to wait") })
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	_, err = second.Lock(ctx, func(who string) {
		require.Contains(t, who, fmt.Sprint(os.Getpid()))
		cancel() // it waits; that is all this test needs to see
	})
	require.ErrorIs(t, err, ErrBusy)
	require.ErrorContains(t, err, "run this again")

	unlock()
	unlock, err = second.Lock(t.Context(), func(string) { t.Error("nobody has it, and yet it waited") })
	require.NoError(t, err)
	unlock()
}

func TestFind_LooksUpwardsForTheModule(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	deep := filepath.Join(root, "lessons", "01_x")
	require.NoError(t, os.MkdirAll(deep, 0o755))
	_, err = Find(deep)
	require.ErrorContains(t, err, "cd into your clone")
	require.NoError(t, os.WriteFile(filepath.Join(root, "go.mod"), []byte("module pitstop\n"), 0o644))
	// A module of the learner's own in between is passed over.
	require.NoError(t, os.WriteFile(filepath.Join(deep, "go.mod"), []byte("module mine\n"), 0o644))
	got, err := Find(deep)
	require.NoError(t, err)
	require.Equal(t, root, got)
}

func TestReset_KeepsWhatItTakesAway(t *testing.T) {
	const meta = "format: 1\ntitle: T\nmodule: M\nminutes: 1\nedit: [a.go]\nchecks: [{kind: test}]\nhints: [a, b, c]\n"
	all, err := lesson.Load(fstest.MapFS{
		"lessons/01_x/lesson.yaml": {Data: []byte(meta)},
		"lessons/01_x/a.go":        {Data: []byte("package x\n")},
	})
	require.NoError(t, err)
	l := all[0]
	for name, lay := range map[string]func(t *testing.T, dir string){
		"changed": func(t *testing.T, dir string) {
			require.NoError(t, os.MkdirAll(dir, 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "a.go"), []byte("mine"), 0o644))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "more.go"), []byte("mine"), 0o644))
		},
		"a link in place of the folder": func(t *testing.T, dir string) {
			other := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(other, "a.go"), []byte("mine"), 0o644))
			require.NoError(t, os.MkdirAll(filepath.Dir(dir), 0o755))
			require.NoError(t, os.Symlink(other, dir))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := &Workshop{Root: t.TempDir()}
			dir := filepath.Join(w.Root, "lessons", "01_x")
			lay(t, dir)
			backup, err := w.Reset(l)
			require.NoError(t, err)
			b, err := os.ReadFile(filepath.Join(dir, "a.go"))
			require.NoError(t, err)
			require.Equal(t, "package x\n", string(b))
			require.NoFileExists(t, filepath.Join(dir, "more.go"))
			b, err = os.ReadFile(filepath.Join(backup, "a.go"))
			require.NoError(t, err)
			require.Equal(t, "mine", string(b))

			again, err := w.Reset(l)
			require.NoError(t, err)
			require.Empty(t, again, "nothing had changed")
		})
	}
}
