package watch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/stretchr/testify/require"
)

const patient = 20 * time.Second // a deadline, never waited for

func write(t *testing.T, name, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(content), 0o644))
}

func heard(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patient):
		t.Fatalf("nothing was heard of %s", what)
	}
}

// folder makes lessons/01_x with one file and watches it.
func folder(t *testing.T, poll bool) (dir, file string, w *Watcher) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "lessons", "01_x")
	file = filepath.Join(dir, "pool.go")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	write(t, file, "package pool")
	return dir, file, New(t.Context(), dir, poll)
}

// settles waits for a Settled after which the file reads as wanted; a slow
// machine may cut one burst in two.
func settles(t *testing.T, w *Watcher, file, want string) {
	t.Helper()
	deadline := time.After(patient)
	for {
		select {
		case <-w.Settled:
			if b, _ := os.ReadFile(file); string(b) == want {
				return
			}
		case <-deadline:
			t.Fatalf("%s never settled as %q", filepath.Base(file), want)
		}
	}
}

func TestWatcher_HearsEverySave(t *testing.T) {
	for _, poll := range []bool{false, true} {
		for name, save := range map[string]func(t *testing.T, dir, file string){
			"in place": func(t *testing.T, dir, file string) { write(t, file, "saved") },
			"renamed over": func(t *testing.T, dir, file string) {
				write(t, file+"~", "saved")
				require.NoError(t, os.Rename(file+"~", file))
			},
			"old one moved away first, as vim does": func(t *testing.T, dir, file string) {
				require.NoError(t, os.Rename(file, file+"~"))
				write(t, file, "saved")
				require.NoError(t, os.Remove(file+"~"))
			},
			"folder recreated": func(t *testing.T, dir, file string) {
				require.NoError(t, os.RemoveAll(dir))
				require.NoError(t, os.MkdirAll(dir, 0o755))
				write(t, file, "saved")
			},
			"folder replaced by a rename": func(t *testing.T, dir, file string) {
				other := dir + ".new"
				require.NoError(t, os.MkdirAll(other, 0o755))
				write(t, filepath.Join(other, "pool.go"), "saved")
				require.NoError(t, os.Rename(dir, dir+".old"))
				require.NoError(t, os.Rename(other, dir))
			},
		} {
			t.Run(fmt.Sprintf("%s, polling %v", name, poll), func(t *testing.T) {
				t.Parallel()
				dir, file, w := folder(t, poll)
				save(t, dir, file)
				heard(t, w.Stirred, "the save")
				settles(t, w, file, "saved")

				write(t, file, "and again")
				settles(t, w, file, "and again")
			})
		}
	}
}

func TestWatcher_HearsNewSubfolders(t *testing.T) {
	dir, _, w := folder(t, false)
	sub := filepath.Join(dir, "deploy")
	require.NoError(t, os.Mkdir(sub, 0o755))
	heard(t, w.Settled, "the new folder")
	file := filepath.Join(sub, "pod.yaml")
	write(t, file, "kind: Pod")
	settles(t, w, file, "kind: Pod")
}

// counted is a watcher whose notifications the test makes up, in virtual time.
func counted(t *testing.T) (w *Watcher, notify chan<- fsnotify.Event, stirs, settlings func() int) {
	events := make(chan fsnotify.Event)
	w = newWatcher(filepath.Join(t.TempDir(), "01_x"))
	w.events = events
	w.last = digest(w.dir)
	go w.run(t.Context())
	count := func(c <-chan struct{}) func() int {
		var n atomic.Int64
		go func() {
			for {
				select {
				case <-c:
					n.Add(1)
				case <-t.Context().Done():
					return
				}
			}
		}()
		return func() int { synctest.Wait(); return int(n.Load()) }
	}
	return w, events, count(w.Stirred), count(w.Settled)
}

func TestWatcher_TellsOfABurstOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, notify, stirs, settlings := counted(t)
		for range 10 {
			notify <- fsnotify.Event{Name: filepath.Join(w.dir, "pool.go"), Op: fsnotify.Write}
			time.Sleep(quiet / 2)
		}
		require.Positive(t, stirs())
		require.Zero(t, settlings(), "it settled within the burst")
		time.Sleep(quiet)
		require.Equal(t, 1, settlings())
		time.Sleep(10 * quiet)
		require.Equal(t, 1, settlings())
	})
}

func TestWatcher_SettlesWhileSomethingWritesWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, notify, _, settlings := counted(t)
		for begin := time.Now(); time.Since(begin) < 2*longest+quiet; time.Sleep(quiet / 2) {
			notify <- fsnotify.Event{Name: filepath.Join(w.dir, "run.log"), Op: fsnotify.Write}
		}
		require.Equal(t, 2, settlings())
	})
}

func TestWatcher_LeavesDroppingsAlone(t *testing.T) {
	for _, name := range []string{"4913", "pool.go~", ".pool.go.swp", ".pool.go.swx", ".#pool.go", "#pool.go#", "pool.go___jb_tmp___"} {
		require.True(t, dropping(name), name)
	}
	for _, name := range []string{"pool.go", "4913.go", ".swallow", "deploy", "pool_test.go"} {
		require.False(t, dropping(name), name)
	}
	synctest.Test(t, func(t *testing.T) {
		w, notify, stirs, settlings := counted(t)
		notify <- fsnotify.Event{Name: filepath.Join(w.dir, ".pool.go.swp"), Op: fsnotify.Create}
		notify <- fsnotify.Event{Name: filepath.Join(w.dir, "pool.go"), Op: fsnotify.Chmod}
		notify <- fsnotify.Event{Name: filepath.Join(filepath.Dir(w.dir), "02_y"), Op: fsnotify.Create}
		time.Sleep(10 * quiet)
		require.Zero(t, stirs())
		require.Zero(t, settlings())
	})
}

func TestWatcher_PollsWhereNotificationCannotBeSetUp(t *testing.T) {
	dir, file, _ := folder(t, true)
	w := newWatcher(dir)
	w.begin(nil, errors.New("too many open files"))
	ctx := t.Context()
	go w.run(ctx)
	select {
	case got := <-w.Notices:
		require.Contains(t, got, "too many open files")
		require.Contains(t, got, "every half second")
	case <-time.After(patient):
		t.Fatal("no notice")
	}
	write(t, file, "saved")
	settles(t, w, file, "saved")
}

// A mount that accepts a watch and never reports: nobody reads the notifier's
// events here.
func TestWatcher_PollsWhereNothingIsEverReported(t *testing.T) {
	dir, file, _ := folder(t, true)
	w := newWatcher(dir)
	n, err := fsnotify.NewWatcher()
	require.NoError(t, err)
	w.begin(n, nil)
	for i := range 2 {
		write(t, file, fmt.Sprint(i))
		require.True(t, w.look(), "the slow look sees what was not reported")
		w.over()
	}
	require.Nil(t, w.notify, "it polls from now on")
	require.Equal(t, pollEvery, w.every)
	require.Contains(t, <-w.Notices, "does not report changes")
}
