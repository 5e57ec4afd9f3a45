package watch

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"pitstop/checker/lesson"
	"pitstop/checker/verdict"
)

// fake is folders in memory, watched and graded as the test says. A verdict
// names the content; a grading with a gate goes on until that opens.
type fake struct {
	gate map[string]chan struct{}

	mu        sync.Mutex
	content   map[string]string // by slug
	watcher   *Watcher
	running   int
	most      int
	begun     []string
	cancelled []string
}

func (f *fake) watch(_ context.Context, l *lesson.Lesson) *Watcher {
	w := newWatcher(l.Slug)
	w.close = func() {}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watcher = w
	return w
}

func (f *fake) Read(l *lesson.Lesson) Snapshot {
	f.mu.Lock()
	content := f.content[l.Slug]
	f.mu.Unlock()
	return Snapshot{Key: content, Grade: func(ctx context.Context, sink func(verdict.Event)) {
		f.begin(content)
		defer f.end()
		sink(verdict.Event{Type: verdict.Step, Lesson: l.Slug, Message: "grading " + content})
		if gate := f.gate[content]; gate != nil {
			select {
			case <-gate:
			case <-ctx.Done():
				f.note(&f.cancelled, content)
			}
		}
		v := &verdict.Verdict{Outcome: verdict.Fail, Findings: []verdict.Finding{{Code: "x.y", Message: content}}}
		if content == "good" {
			v = &verdict.Verdict{Outcome: verdict.Pass}
		}
		sink(verdict.Event{Type: verdict.Graded, Lesson: l.Slug, Verdict: v})
	}}
}

func (f *fake) begin(content string) {
	f.note(&f.begun, content)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running++
	f.most = max(f.most, f.running)
}

func (f *fake) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
}

func (f *fake) note(list *[]string, content string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*list = append(*list, content)
}

func (f *fake) passes(l *lesson.Lesson) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.content[l.Slug] == "good"
}

// half is a burst of changes that goes on; save is one that is over.
func (f *fake) half(l *lesson.Lesson, content string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.content[l.Slug] = content
	if f.watcher != nil && f.watcher.dir == l.Slug {
		token(f.watcher.stirred)
	}
}

func (f *fake) save(l *lesson.Lesson, content string) {
	f.half(l, content)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watcher != nil && f.watcher.dir == l.Slug {
		token(f.watcher.settled)
	}
}

func (f *fake) was(list *[]string, content string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(*list, content)
}

type bench struct {
	*fake
	*Session
	t       *testing.T
	lessons []*lesson.Lesson
}

func newBench(t *testing.T, gates ...string) *bench {
	t.Helper()
	f := &fake{gate: map[string]chan struct{}{}, content: map[string]string{}}
	for _, g := range gates {
		f.gate[g] = make(chan struct{})
	}
	b := &bench{fake: f, Session: NewSession(f, ""), t: t}
	b.Session.watch = f.watch
	for i, slug := range []string{"01_one", "02_two", "03_three"} {
		l := &lesson.Lesson{Slug: slug, Number: i + 1, Title: "Title of " + slug, Module: "M", Edit: []string{"a.go"}, Hints: []string{"look", "wrong", "mend"}}
		b.lessons = append(b.lessons, l)
		f.content[slug] = "bad"
	}
	return b
}

// session runs a test of a session in virtual time.
func session(t *testing.T, gates []string, test func(*bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, gates...)
		ctx, cancel := context.WithCancel(t.Context())
		go b.Run(ctx)
		test(b)
		cancel()
		for range b.Events {
		}
		require.Zero(t, b.running, "a grading outlived its session")
		require.LessOrEqual(t, b.most, 1, "two gradings ran at once")
	})
}

// until reads events up to one that is wanted and returns those before it.
func (b *bench) until(what string, want func(verdict.Event) bool) (before []verdict.Event) {
	b.t.Helper()
	deadline := time.After(patient)
	for {
		select {
		case ev := <-b.Events:
			if want(ev) {
				return before
			}
			before = append(before, ev)
		case <-deadline:
			b.t.Fatalf("no %s; events so far: %+v", what, before)
		}
	}
}

func of(t verdict.Type) func(verdict.Event) bool {
	return func(ev verdict.Event) bool { return ev.Type == t }
}

func judged(content string) func(verdict.Event) bool {
	return func(ev verdict.Event) bool {
		if ev.Verdict == nil {
			return false
		}
		return content == "good" && ev.Outcome == verdict.Pass || len(ev.Findings) > 0 && ev.Findings[0].Message == content
	}
}

func verdicts(list []verdict.Event) (n int) {
	for _, ev := range list {
		if ev.Verdict != nil {
			n++
		}
	}
	return n
}

// nothing makes sure that no event waits to be read.
func (b *bench) nothing() {
	b.t.Helper()
	synctest.Wait()
	select {
	case ev := <-b.Events:
		b.t.Fatalf("one event too many: %+v", ev)
	default:
	}
}

func TestSession_GradesOnceAndThenAtEverySave(t *testing.T) {
	session(t, nil, func(b *bench) {
		b.Open(b.lessons[0])
		b.until("opening", of(Opened))
		b.until("first verdict", judged("bad"))
		b.save(b.lessons[0], "good")
		b.until("word of the save", of(Saved))
		b.until("second verdict", judged("good"))
		b.save(b.lessons[1], "elsewhere")
		b.nothing()
		b.save(b.lessons[0], "worse")
		b.until("third verdict", judged("worse"))
	})
}

func TestSession_ASaveEndsTheGradingThatRuns(t *testing.T) {
	session(t, []string{"slow"}, func(b *bench) {
		b.Open(b.lessons[0])
		b.until("first verdict", judged("bad"))
		b.save(b.lessons[0], "slow")
		b.until("a step of the slow grading", func(ev verdict.Event) bool { return ev.Message == "grading slow" })
		b.save(b.lessons[0], "good")
		before := b.until("the newest verdict", judged("good"))
		require.Zero(b.t, verdicts(before), "the content that was replaced had a verdict: %+v", before)
		require.Equal(b.t, []string{"slow"}, b.cancelled)
		b.nothing()
	})
}

func TestSession_TheNewestContentHasTheLastVerdict(t *testing.T) {
	session(t, nil, func(b *bench) {
		b.Open(b.lessons[0])
		for _, content := range []string{"a", "b", "c", "d", "e", "f", "g"} {
			b.save(b.lessons[0], content)
		}
		b.until("the verdict on the last save", judged("g"))
		b.nothing()
	})
}

func TestSession_ASaveWithoutChangeIsNotGraded(t *testing.T) {
	session(t, nil, func(b *bench) {
		b.Open(b.lessons[0])
		b.until("first verdict", judged("bad"))
		b.save(b.lessons[0], "bad")
		require.Empty(b.t, b.until("word of the save", of(Unchanged)))
		b.nothing()
		require.Equal(b.t, []string{"bad"}, b.begun)
		b.Session.Again()
		b.until("the second grading", of(Again))
		b.until("its verdict", judged("bad"))
	})
}

// vim moves the old file away before it writes: for a moment there is none.
func TestSession_HalfASaveHasNoVerdict(t *testing.T) {
	session(t, nil, func(b *bench) {
		b.Open(b.lessons[0])
		b.until("first verdict", judged("bad"))
		b.half(b.lessons[0], "gone")
		b.nothing()
		require.True(b.t, b.was(&b.begun, "gone"), "grading waits until the burst is over")

		b.save(b.lessons[0], "bad")
		require.Empty(b.t, b.until("word of a save that changes nothing", of(Unchanged)))

		b.half(b.lessons[0], "gone")
		b.nothing()
		b.save(b.lessons[0], "good")
		require.Zero(b.t, verdicts(b.until("the verdict on the whole save", judged("good"))))
		b.nothing()
	})
}

func TestSession_WhatWasGradedInTheBurstIsNotGradedAgain(t *testing.T) {
	session(t, nil, func(b *bench) {
		b.Open(b.lessons[0])
		b.until("first verdict", judged("bad"))
		b.half(b.lessons[0], "good")
		b.nothing()
		b.save(b.lessons[0], "good")
		b.until("word of the save", of(Saved))
		b.until("the verdict", judged("good"))
		b.nothing()
		require.Equal(b.t, []string{"bad", "good"}, b.begun)
	})
}

func TestSession_AGradingOnDemandIsNotLostToASave(t *testing.T) {
	session(t, []string{"bad"}, func(b *bench) {
		b.Open(b.lessons[0])
		b.until("a step", of(verdict.Step))
		b.gate["bad"] <- struct{}{}
		b.until("first verdict", judged("bad"))
		b.Session.Again()
		b.until("the second grading", of(Again))
		b.until("its step", of(verdict.Step))
		b.half(b.lessons[0], "gone")
		b.nothing()
		b.save(b.lessons[0], "bad")
		close(b.gate["bad"])
		b.until("the verdict that was asked for", judged("bad"))
	})
}

func TestSession_TurnsToAnotherLesson(t *testing.T) {
	session(t, []string{"slow"}, func(b *bench) {
		b.save(b.lessons[0], "slow")
		b.Open(b.lessons[0])
		b.until("a step", of(verdict.Step))
		b.Open(b.lessons[2])
		b.Open(b.lessons[1])
		b.until("the other lesson", func(ev verdict.Event) bool { return ev.Type == Opened && ev.Lesson == "02_two" })
		require.Zero(b.t, verdicts(b.until("its verdict", judged("bad"))))
		b.save(b.lessons[0], "good")
		b.nothing()
		b.save(b.lessons[1], "worse")
		b.until("the verdict on a save there", judged("worse"))
	})
}

// Real folders and real saves, so with deadlines only.
func TestSession_OnRealFolders(t *testing.T) {
	for _, poll := range []string{"", "1"} {
		t.Run("polling "+poll, func(t *testing.T) {
			t.Setenv(PollVar, poll)
			root := t.TempDir()
			b := newBench(t)
			b.Session = NewSession(&onDisk{fake: b.fake, root: root}, root)
			ctx, cancel := context.WithCancel(t.Context())
			go b.Run(ctx)
			defer func() {
				cancel()
				for range b.Events {
				}
			}()
			notices := 0
			for _, l := range b.lessons[:2] {
				file := filepath.Join(root, l.Folder(), "a.go")
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
				write(t, file, "bad")
				b.Open(l)
				for _, content := range []string{"bad", "good"} {
					write(t, file+"~", content)
					require.NoError(t, os.Rename(file+"~", file))
					for _, ev := range b.until("verdict on "+content, judged(content)) {
						if ev.Type == verdict.Warning {
							notices++
						}
					}
				}
			}
			require.Equal(t, len(poll), notices, "that it polls is said once")
		})
	}
}

// onDisk reads what is graded from real folders.
type onDisk struct {
	*fake
	root string
}

func (d *onDisk) Read(l *lesson.Lesson) Snapshot {
	content, _ := os.ReadFile(filepath.Join(d.root, l.Folder(), "a.go"))
	d.mu.Lock()
	d.content[l.Slug] = string(content)
	d.mu.Unlock()
	return d.fake.Read(l)
}
