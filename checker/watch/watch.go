// Package watch grades a lesson at every save. A Watcher tells that a folder
// has changed, a Session turns saves into gradings and gradings into one
// stream of events, and Plain prints that stream as lines of text. The screen
// is another reader of the same stream.
package watch

import (
	"context"
	"os"
	"path/filepath"
	"sync"

	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

// What a session tells besides the events of a grading.
const (
	Opened    verdict.Type = "opened"    // a lesson is watched from now on, and graded once
	Saved     verdict.Type = "saved"     // its content has changed and is being graded
	Again     verdict.Type = "again"     // the same content is being graded once more, on demand
	Unchanged verdict.Type = "unchanged" // a save changed nothing that is graded; the last verdict stands
)

// Source is where a session's gradings come from.
type Source interface {
	// Read takes what is in the learner's folder of a lesson now.
	Read(*lesson.Lesson) Snapshot
}

// Snapshot is the content of a lesson's folder at one moment.
type Snapshot struct {
	Key   string // equal keys would give equal verdicts
	Grade func(context.Context, func(verdict.Event))
}

// Session grades one lesson at a time and anew at every save. A save ends a
// grading that runs; the newest content has the last verdict, always. Events
// must be read until it is closed.
type Session struct {
	Events <-chan verdict.Event

	source Source
	watch  func(context.Context, *lesson.Lesson) *Watcher
	events chan verdict.Event
	wake   chan struct{}

	mu    sync.Mutex
	open  *lesson.Lesson // asked for, not yet taken up
	again bool

	// What follows is the loop's own.
	lesson *lesson.Lesson
	run    *run
	ended  <-chan struct{} // closed when the last grading that was started has ended
	shown  string          // key of the last verdict that was told
	said   map[string]bool
}

// run is one grading. It starts at the first sign of a save, before the save
// is known to be whole; what it says is held back until that is so.
type run struct {
	key    string
	held   []verdict.Event
	told   bool // its events are passed on as they come
	events chan verdict.Event
	cancel context.CancelFunc
}

// NewSession makes a session on the workshop at root. It polls where the
// environment says so.
func NewSession(source Source, root string) *Session {
	poll := os.Getenv(PollVar) == "1"
	s := &Session{
		source: source,
		watch: func(ctx context.Context, l *lesson.Lesson) *Watcher {
			return New(ctx, filepath.Join(root, filepath.FromSlash(l.Folder())), poll)
		},
		events: make(chan verdict.Event), wake: make(chan struct{}, 1), said: map[string]bool{},
	}
	none := make(chan struct{})
	close(none)
	s.Events, s.ended = s.events, none
	return s
}

// Open turns to a lesson and grades it. It never blocks; of several calls the
// last counts.
func (s *Session) Open(l *lesson.Lesson) {
	s.mu.Lock()
	s.open, s.again = l, false
	s.mu.Unlock()
	token(s.wake)
}

// Again grades what is there once more, although nothing has changed.
func (s *Session) Again() {
	s.mu.Lock()
	s.again = true
	s.mu.Unlock()
	token(s.wake)
}

// Run works until ctx is done, ends what is being graded, and closes Events.
func (s *Session) Run(ctx context.Context) {
	defer close(s.events)
	defer func() { <-s.ended }() // its files are gone then
	defer s.stop()
	var w *Watcher
	for {
		var stirred, settled <-chan struct{}
		var notices <-chan string
		var graded <-chan verdict.Event
		if w != nil {
			stirred, settled, notices = w.Stirred, w.Settled, w.Notices
		}
		if s.run != nil {
			graded = s.run.events
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			open, again := s.asked()
			if open != nil {
				s.stop()
				if w != nil {
					w.Close()
				}
				s.lesson = open
				// Watched first and read then: a save in between is not lost.
				w = s.watch(ctx, open)
				s.tell(ctx, Opened, open.Title)
				s.start(ctx, s.source.Read(open), true)
			} else if again && s.lesson != nil {
				s.tell(ctx, Again, "")
				s.start(ctx, s.source.Read(s.lesson), true)
			}
		case text := <-notices:
			if !s.said[text] {
				s.said[text] = true
				s.tell(ctx, verdict.Warning, text)
			}
		case <-stirred:
			s.stir(ctx)
		case <-settled:
			s.settle(ctx)
		case ev := <-graded:
			s.pass(ctx, s.run, ev)
		}
	}
}

func (s *Session) asked() (open *lesson.Lesson, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open, again = s.open, s.again
	s.open, s.again = nil, false
	return open, again
}

// stir starts on what a burst of changes has made so far.
func (s *Session) stir(ctx context.Context) {
	now := s.source.Read(s.lesson)
	switch {
	case s.run != nil && s.run.key == now.Key:
		return
	case s.shown == now.Key && (s.run == nil || !s.run.told):
		s.stop() // back at what was graded last
		return
	case s.run != nil && s.run.told:
		s.shown = "" // a verdict was promised; the one before no longer stands
	}
	s.start(ctx, now, false)
}

// settle takes up what a burst of changes has left.
func (s *Session) settle(ctx context.Context) {
	now := s.source.Read(s.lesson)
	switch {
	case s.run != nil && s.run.key == now.Key:
		if s.run.told {
			return // it was being graded already
		}
		s.tell(ctx, Saved, "")
		r := s.run
		r.told = true
		for _, ev := range r.held {
			s.pass(ctx, r, ev)
		}
	case s.shown == now.Key:
		s.stop()
		s.tell(ctx, Unchanged, "")
	default:
		s.tell(ctx, Saved, "")
		s.start(ctx, now, true)
	}
}

// start ends what is being graded and grades a snapshot in its place.
func (s *Session) start(ctx context.Context, snap Snapshot, told bool) {
	s.stop()
	own, cancel := context.WithCancel(ctx)
	r := &run{key: snap.Key, told: told, events: make(chan verdict.Event), cancel: cancel}
	before, ended := s.ended, make(chan struct{})
	s.run, s.ended = r, ended
	go func() {
		defer close(ended)
		<-before // two gradings at once would disturb each other
		if own.Err() != nil {
			return
		}
		snap.Grade(own, func(ev verdict.Event) {
			if own.Err() != nil {
				return
			}
			select {
			case r.events <- ev:
			case <-own.Done():
			}
		})
	}()
}

// stop ends the grading that runs, if any. Nothing more is heard of it.
func (s *Session) stop() {
	if s.run != nil {
		s.run.cancel()
		s.run = nil
	}
}

// pass takes an event of the grading that runs.
func (s *Session) pass(ctx context.Context, r *run, ev verdict.Event) {
	if !r.told {
		r.held = append(r.held, ev)
		return
	}
	if ev.Verdict != nil {
		s.shown = r.key
		s.stop()
	}
	s.send(ctx, ev)
}

func (s *Session) tell(ctx context.Context, t verdict.Type, message string) {
	s.send(ctx, verdict.Event{Type: t, Lesson: s.lesson.Slug, Message: message})
}

func (s *Session) send(ctx context.Context, ev verdict.Event) {
	select {
	case s.events <- ev:
	case <-ctx.Done():
	}
}
