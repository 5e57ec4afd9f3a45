package watch

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// PollVar is the environment variable that, set to 1, makes the checker look
// at the folder itself instead of waiting for the system to notify it.
const PollVar = "PITSTOP_POLL"

const (
	stirDelay  = 3 * time.Millisecond   // a write in place is two events, empty and full, this close together
	quiet      = 40 * time.Millisecond  // without an event ends a burst
	longest    = 500 * time.Millisecond // a burst, when something writes without end
	pollEvery  = 500 * time.Millisecond // where notification does not work
	safetyPoll = 2 * time.Second        // beside notification: some mounts accept a watch and never report
)

// Watcher reports that a folder's files have changed, however an editor
// saves: in place, by renaming over, or by replacing the folder. A burst of
// changes is told twice. Stirred says at once that one has begun, so that work
// may start on what is there; Settled says that it is over. Tokens coalesce and
// none is lost: whoever reads the folder after a Settled has the newest content.
type Watcher struct {
	Stirred <-chan struct{}
	Settled <-chan struct{}
	Notices <-chan string // what a person should know of how the folder is watched

	dir     string
	close   context.CancelFunc
	stirred chan struct{}
	settled chan struct{}
	notices chan string
	notify  *fsnotify.Watcher // nil while polling
	events  <-chan fsnotify.Event
	errs    <-chan error
	every   time.Duration
	last    string // digest of the folder when it was looked at last
	heard   bool   // a notification has come since the last burst was over
	silent  bool   // a look found a change that no notification had told of
	misses  int    // such changes in a row
}

// New watches dir, which need not exist yet, until ctx is done or it is closed. With poll it
// does not ask the system for notifications. Nothing that happens after New
// has returned is missed.
func New(ctx context.Context, dir string, poll bool) *Watcher {
	w := newWatcher(dir)
	switch {
	case poll:
		w.poll(PollVar + " is set: looking for saves every half second")
	default:
		n, err := fsnotify.NewWatcher()
		w.begin(n, err)
	}
	ctx, w.close = context.WithCancel(ctx)
	go w.run(ctx)
	return w
}

// Close ends the watch. Tokens that were sent may still be read.
func (w *Watcher) Close() { w.close() }

func newWatcher(dir string) *Watcher {
	w := &Watcher{
		dir: filepath.Clean(dir), every: safetyPoll,
		stirred: make(chan struct{}, 1), settled: make(chan struct{}, 1), notices: make(chan string, 4),
	}
	w.Stirred, w.Settled, w.Notices = w.stirred, w.settled, w.notices
	return w
}

// begin takes a notifier into use; without one the folder is polled.
func (w *Watcher) begin(n *fsnotify.Watcher, err error) {
	if err == nil {
		w.notify, w.events, w.errs = n, n.Events, n.Errors
		err = w.watchAll()
	}
	if err != nil {
		w.poll(fmt.Sprintf("this system does not report changed files (%v): looking for saves every half second", err))
		return
	}
	w.last = digest(w.dir)
}

func (w *Watcher) poll(notice string) {
	if w.notify != nil {
		w.notify.Close()
		w.notify, w.events, w.errs = nil, nil, nil
	}
	w.every = pollEvery
	w.last = digest(w.dir)
	select {
	case w.notices <- notice:
	default:
	}
}

// watchAll watches the folder, its sub-folders, and the folder above, which
// tells that the folder itself was replaced. Watching one twice does nothing.
func (w *Watcher) watchAll() error {
	if err := w.notify.Add(filepath.Dir(w.dir)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return filepath.WalkDir(w.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // gone meanwhile; the next look sees what came instead
		}
		if err := w.notify.Add(p); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	})
}

func (w *Watcher) run(ctx context.Context) {
	defer func() {
		if w.notify != nil {
			w.notify.Close()
		}
	}()
	look := time.NewTimer(w.every)
	stir, settle := time.NewTimer(0), time.NewTimer(0)
	stir.Stop()
	settle.Stop()
	stirring := false
	var since time.Time // when the burst began; zero between two
	touch := func() {
		if !stirring {
			stirring = true
			stir.Reset(stirDelay)
		}
		if since.IsZero() {
			since = time.Now()
		}
		settle.Reset(min(quiet, longest-time.Since(since)))
	}
	for {
		select {
		case <-ctx.Done():
			return
		case ev := <-w.events:
			if w.concerns(ev) {
				w.heard = true
				touch()
			}
		case <-w.errs: //nolint:errcheck // too many events at once: some are lost
			w.heard = true
			touch()
		case <-look.C:
			if w.look() {
				touch()
			}
			look.Reset(w.every)
		case <-stir.C:
			stirring = false // what comes now stirs again
			token(w.stirred)
		case <-settle.C:
			stirring, since = false, time.Time{}
			stir.Stop()
			w.over()
			token(w.settled)
		}
	}
}

// look reports whether the folder differs from when it was looked at last.
func (w *Watcher) look() bool {
	if w.notify != nil {
		if err := w.watchAll(); err != nil {
			w.poll(fmt.Sprintf("this system stopped reporting changed files (%v): looking for saves every half second", err))
			return true
		}
	}
	now := digest(w.dir)
	if now == w.last {
		return false
	}
	w.last = now
	w.silent = true
	return true
}

// over ends a burst. One change without a notification may be a folder that
// was replaced from far above; two in a row are a mount that reports nothing.
func (w *Watcher) over() {
	switch {
	case w.heard:
		w.misses = 0
	case w.silent:
		w.misses++
	}
	w.last = digest(w.dir)
	w.heard, w.silent = false, false
	if w.notify != nil && w.misses >= 2 {
		w.poll("this folder's file system does not report changes: looking for saves every half second")
	}
}

// concerns reports whether an event may change what is graded, and watches
// folders that are new.
func (w *Watcher) concerns(ev fsnotify.Event) bool {
	switch {
	case ev.Name != w.dir && !strings.HasPrefix(ev.Name, w.dir+string(filepath.Separator)):
		return false // beside the folder
	case dropping(filepath.Base(ev.Name)), ev.Op == fsnotify.Chmod:
		return false
	}
	if w.notify != nil && (ev.Name == w.dir || ev.Has(fsnotify.Create) && isDir(ev.Name)) {
		_ = w.watchAll() // the slow look finds what is not heard of
	}
	return true
}

func isDir(p string) bool {
	info, err := os.Lstat(p)
	return err == nil && info.IsDir()
}

func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is there already
	}
}
