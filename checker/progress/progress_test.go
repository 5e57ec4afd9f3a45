package progress

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"pitstop/checker/verdict"
)

func TestStore_KeepsWhatSeveralCheckersRecord(t *testing.T) {
	root := t.TempDir()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s := Open(root) // as another process would
			for range 10 {
				if err := s.Update(fmt.Sprintf("%02d_x", i), func(e *Entry) { e.Hints++ }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all := Open(root).All()
	require.Len(t, all, 8)
	for slug, e := range all {
		require.Equal(t, 10, e.Hints, slug)
	}
}

func TestStore_SurvivesACrashInMidWrite(t *testing.T) {
	root := t.TempDir()
	s := Open(root)
	require.NoError(t, s.Update("01_x", func(e *Entry) { e.Hints = 2 }))
	// What a writer that was killed leaves: a file beside, half written.
	beside := filepath.Join(root, Dir, ".progress.json1234")
	require.NoError(t, os.WriteFile(beside, []byte(`{"format":1,"les`), 0o600))
	require.Equal(t, 2, Open(root).All()["01_x"].Hints)
	require.NoError(t, Open(root).Update("01_x", func(e *Entry) { e.Hints = 3 }))
	require.Equal(t, 3, Open(root).All()["01_x"].Hints)
}

func TestStore_SetsADamagedFileAside(t *testing.T) {
	for name, content := range map[string]string{"half": `{"format":1,"les`, "empty": "", "of a later version": `{"format":9}`} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			s := Open(root)
			file := filepath.Join(root, Dir, "progress.json")
			require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
			require.Empty(t, s.All())
			require.NoError(t, s.Update("01_x", func(e *Entry) { e.Hints = 1 }))
			require.Contains(t, s.Problem, "was damaged")
			kept, err := filepath.Glob(file + ".damaged-*")
			require.NoError(t, err)
			require.Len(t, kept, 1)
			b, err := os.ReadFile(kept[0])
			require.NoError(t, err)
			require.Equal(t, content, string(b))
			require.Equal(t, 1, Open(root).All()["01_x"].Hints)
		})
	}
}

func TestStore_GoesOnWhereItCannotWrite(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, Dir), nil, 0o644)) // a file in the folder's place
	s := Open(root)
	require.Contains(t, s.Problem, "progress is not kept")
	require.NoError(t, s.Update("01_x", func(e *Entry) { e.Hints = 1 }))
	require.Equal(t, 1, s.All()["01_x"].Hints)
}

func TestRecord_KeepsTheFiguresOfTheUntouchedLesson(t *testing.T) {
	s := Open(t.TempDir())
	v := verdict.Verdict{Outcome: verdict.Fail, Evidence: []verdict.Evidence{{Name: "tasks at once", Now: 300}}}
	require.NoError(t, s.Record("01_x", "sum1", true, v))
	v = verdict.Verdict{Outcome: verdict.Pass, Evidence: []verdict.Evidence{{Name: "tasks at once", Now: 4}, {Name: "new", Now: 1}}}
	require.NoError(t, s.Record("01_x", "sum2", false, v))
	require.NoError(t, s.Record("01_x", "sum3", false, verdict.Verdict{Outcome: verdict.Error}))

	e := s.All()["01_x"]
	require.Equal(t, verdict.Pass, e.Outcome)
	require.True(t, e.HasPassed("sum2"))
	require.False(t, e.HasPassed("sum1"))
	e.Annotate(&v)
	require.Equal(t, 300.0, *v.Evidence[0].Before)
	require.Nil(t, v.Evidence[1].Before)
}
