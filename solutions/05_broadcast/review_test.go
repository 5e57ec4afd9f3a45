//go:build review

package broadcast_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"pitstop/checker/probe"
	broadcast "pitstop/lessons/05_broadcast"
)

func init() {
	maps.Copy(scenes, map[string]func() outcome{
		"one reads late, twice": oneReadsLateTwice,
		"many publish":          manyPublish,
		"they come and go":      theyComeAndGo,
		"closed meanwhile":      closedMeanwhile,
		"closed at once":        closedAtOnce,
		"after the close":       afterTheClose,
		"the context is over":   contextIsOver,
		"subscribers publish":   subscribersPublish,
		"leavers are forgotten": func() outcome { return forgotten(true) },
		"backlog is forgotten":  func() outcome { return forgotten(false) },
		"hub is forgotten":      func() outcome { return hubForgotten(false) },
		"late one forgets":      func() outcome { return hubForgotten(true) },
		"published meanwhile":   publishedMeanwhile,
		"values of any type":    anyType,
	})
}

// oneReadsLateTwice: it finds the newest, and later the newest again.
func oneReadsLateTwice() outcome {
	h := open()
	ch := h.hub.Subscribe(context.Background())
	h.find(ch)
	for range 3 {
		h.publish(4)
		h.find(ch)
	}
	return h.outcome()
}

func TestReview_SlowSubscriberFindsTheNewestEachTime(t *testing.T) {
	t.Parallel()
	o := play(t, "one reads late, twice")
	checkPublish(t, o, "the only subscriber reads now and then")
	if want := []int{1, 5, 9, 13}; fmt.Sprint(o.Found) != fmt.Sprint(want) {
		probe.Errorf(t, "broadcast.stale", "four values were published at a time, three times; a subscriber who read before and after found versions %v, not %v.", o.Found, want)
	}
}

const (
	publishers = 4
	crowd      = 3000 // so that Publish takes longer than a turn on the processor
	guests     = 8
	visits     = 40
	rounds     = 20
	tooLate    = 3000 // who subscribe with a context that has ended
)

// manyPublish: several publish at once. In the end all subscribers are at one
// value, those who read, those who did not, and one who comes then.
func manyPublish() outcome {
	h := open()
	var readers []*reader
	for range 4 {
		readers = append(readers, h.read())
	}
	var busy []<-chan settings
	for range crowd {
		busy = append(busy, h.hub.Subscribe(context.Background()))
	}
	for round := 1; round <= 4; round++ {
		settle()
		var returned atomic.Int64
		for p := range publishers {
			go func() {
				h.hub.Publish(settings{By: p + 1, Version: round})
				returned.Add(1)
			}()
		}
		settle()
		h.o.Calls = publishers
		h.o.Stuck = publishers - int(returned.Load())
		if h.o.Stuck > 0 {
			return h.outcome()
		}

		ends := map[string]int{}
		late := h.hub.Subscribe(context.Background())
		synctest.Wait()
		for _, ch := range append(busy, late) {
			select {
			case s := <-ch:
				ends[name(s)]++
			default:
				ends["nothing"]++
			}
		}
		for _, r := range readers {
			h.judge(r, 0, -1)
			r.mu.Lock()
			ends[name(r.seen[len(r.seen)-1])]++
			r.mu.Unlock()
		}
		if len(ends) > 1 {
			var at []string
			for _, end := range slices.Sorted(maps.Keys(ends)) {
				at = append(at, fmt.Sprintf("%d at %s", ends[end], end))
			}
			h.o.Note = strings.Join(at, ", ")
			break
		}
	}
	return h.outcome()
}

func quoted(err error) string {
	if err == nil {
		return "no error"
	}
	return fmt.Sprintf("the error %q", err)
}

func name(s settings) string { return fmt.Sprintf("value %d of publisher %d", s.Version, s.By) }

func TestReview_AllComeToTheSameValue(t *testing.T) {
	t.Parallel()
	o := playFor(t, "many publish", 4*patience)
	when := "4 publish at once, 4 read, 3000 do not"
	checkPublish(t, o, when)
	if o.Backwards > 0 {
		probe.Errorf(t, "broadcast.backwards", "%d values came after a newer one of the same publisher (%s).", o.Backwards, when)
	}
	if o.Note != "" {
		probe.Errorf(t, "broadcast.diverged", "when 4 had published at once, subscribers ended at different values: %s.", o.Note)
	}
}

// theyComeAndGo: subscribers come, read a value or none, and leave, while two
// publish. One stays all the time.
func theyComeAndGo() outcome {
	h := open()
	stays := h.read()
	settle()
	h.base = len(standing())
	var open atomic.Int64
	for p := range 2 {
		go func() {
			for i := range 300 {
				h.hub.Publish(settings{By: p + 1, Version: i + 1})
				runtime.Gosched()
			}
		}()
	}
	for g := range guests {
		go func() {
			for i := range visits {
				ctx, cancel := context.WithCancel(context.Background())
				ch := h.hub.Subscribe(ctx)
				open.Add(1)
				for range (g + i) % 3 {
					select {
					case <-ch:
					case <-time.After(time.Second): // nobody publishes any more
					}
				}
				cancel()
				for range ch {
				}
				open.Add(-1)
			}
		}()
	}
	settle()
	h.left()
	h.o.Open = int(open.Load())
	h.publish(1)
	stays.mu.Lock()
	defer stays.mu.Unlock()
	if n := len(stays.seen); n == 0 || stays.closed || stays.seen[n-1].Version != h.o.Newest {
		h.o.Missed++
	}
	return h.outcome()
}

func TestReview_SubscribersComeAndGo(t *testing.T) {
	t.Parallel()
	o := play(t, "they come and go")
	when := "8 came and went 40 times while 2 published"
	checkEnd(t, o, when)
	checkPublish(t, o, "320 subscribers have left, one has stayed")
	if o.Missed > 0 {
		probe.Errorf(t, "broadcast.missed", "the subscriber who stayed did not get the last value (%s).", when)
	}
}

// closedMeanwhile: three close the hub while two publish and others subscribe;
// then contexts end that were alive.
func closedMeanwhile() (o outcome) {
	for range rounds {
		h := open()
		ctx, cancel := context.WithCancel(context.Background())
		var mu sync.Mutex
		var chans []<-chan settings
		var note atomic.Pointer[string]
		var done atomic.Int64
		calls := 0
		start := make(chan struct{})
		again := func(n int, f func()) {
			calls++
			go func() {
				<-start
				for range n {
					f()
				}
				done.Add(1)
			}()
		}
		for range 3 {
			again(20, func() {
				ch := h.hub.Subscribe(ctx)
				mu.Lock()
				defer mu.Unlock()
				chans = append(chans, ch)
			})
			again(2, func() {
				runtime.Gosched()
				h.hub.Close()
				if err := h.hub.Publish(settings{}); !errors.Is(err, broadcast.ErrClosed) {
					s := fmt.Sprintf("Publish gave %s when Close had returned", quoted(err))
					note.Store(&s)
				}
			})
		}
		for range 2 {
			again(20, func() {
				if err := h.hub.Publish(settings{Version: 2}); err != nil && !errors.Is(err, broadcast.ErrClosed) {
					s := fmt.Sprintf("Publish gave %s while Close was called", quoted(err))
					note.Store(&s)
				}
			})
		}
		synctest.Wait()
		close(start)
		settle()
		h.o.Stuck, h.o.Calls = calls-int(done.Load()), calls
		if h.o.Stuck > 0 {
			cancel()
			return h.outcome()
		}
		h.left()
		for _, ch := range chans {
			if !h.find(ch) {
				h.o.Open++
			}
		}
		cancel()
		settle()
		if s := note.Load(); s != nil {
			h.o.Note = *s
		}
		if o = h.outcome(); o.Note != "" || o.Left+o.Open > 0 {
			break
		}
	}
	return o
}

func TestReview_ClosedFromSeveralPlaces(t *testing.T) {
	t.Parallel()
	o := play(t, "closed meanwhile")
	when := "3 closed the hub while 2 published and 3 subscribed"
	if !probe.Equal(t, "goroutines in a call that does not return: "+when, o.Stuck, 0, "goroutines") {
		probe.Fatalf(t, "broadcast.blocked", "%d of %d goroutines are in a call of the hub's that does not return (%s).", o.Stuck, o.Calls, when)
	}
	checkEnd(t, o, when)
	if o.Note != "" {
		probe.Errorf(t, "broadcast.closed", "%s: it must be ErrClosed (%s).", o.Note, when)
	}
}

// closedAtOnce: two close one hub after the other, and meet before each: who
// comes first spins until the other runs too, on another core, and one of them
// is then a little later. Where there is no other core to be had, the spins are
// soon used up, and they run on alone: one taken off the core in the middle of
// Close finds that the other has closed that hub when it comes back.
func closedAtOnce() (o outcome) {
	hubs := make([]*broadcast.Hub[int], 20_000)
	for i := range hubs {
		hubs[i] = broadcast.New(0)
	}
	at := make([]atomic.Int32, len(hubs))
	var closers sync.WaitGroup
	for c := range 2 {
		closers.Go(func() {
			spins := 4_000_000
			for i, hub := range hubs {
				at[i].Add(1)
				for ; at[i].Load() < 2 && spins > 0; spins-- {
				}
				if c == i%2 {
					for range i / 2 % 8 {
						at[i].Load()
					}
				}
				hub.Close()
			}
		})
	}
	closers.Wait()
	return o
}

// It is not parallel: it needs two cores, which others would take from it.
func TestReview_ClosedByTwoAtOnce(t *testing.T) {
	playFor(t, "closed at once", 4*patience) // a panic is broadcast.crash
}

// afterTheClose: one publishes, one subscribes, one closes again.
func afterTheClose() outcome {
	h := open()
	h.hub.Close()
	settle()
	h.hub.Close()
	if err := h.hub.Publish(settings{}); !errors.Is(err, broadcast.ErrClosed) {
		h.o.Note = fmt.Sprintf("Publish gave %s after Close", quoted(err))
	}
	if !h.find(h.hub.Subscribe(context.Background())) {
		h.o.Open++
	}
	h.left()
	return h.outcome()
}

func TestReview_AfterTheClose(t *testing.T) {
	t.Parallel()
	o := play(t, "after the close")
	checkEnd(t, o, "one subscribed after the close")
	if o.Note != "" {
		probe.Errorf(t, "broadcast.closed", "%s: it must be ErrClosed.", o.Note)
	}
}

// contextIsOver: it has ended before Subscribe is called. What the context then
// starts now and then overtakes Subscribe, about once in a hundred calls.
func contextIsOver() outcome {
	h := open()
	h.publish(1)
	h.base = len(standing())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var chans []<-chan settings
	for range tooLate {
		chans = append(chans, h.hub.Subscribe(ctx))
	}
	settle()
	for _, ch := range chans {
		if !h.find(ch) {
			h.o.Open++
		}
	}
	h.o.Found = nil
	h.left()
	h.publish(1)
	return h.outcome()
}

func TestReview_SubscribeWithAContextThatHasEnded(t *testing.T) {
	t.Parallel()
	o := playFor(t, "the context is over", 4*patience)
	when := fmt.Sprintf("the contexts of %d subscribers had ended before", tooLate)
	checkEnd(t, o, when)
	checkPublish(t, o, when)
}

// subscribersPublish: what a subscriber does with a value may be to publish
// another one, to subscribe to more, or to leave.
func subscribersPublish() outcome {
	h := open()
	h.hub.Subscribe(context.Background()) // and never reads
	var returned atomic.Int64
	for range 3 {
		ctx, cancel := context.WithCancel(context.Background())
		ch := h.hub.Subscribe(ctx)
		go func() {
			for s := range ch {
				if s.Version == 2 {
					h.hub.Publish(settings{Version: 3})
					h.hub.Subscribe(ctx)
					cancel()
					returned.Add(1)
				}
			}
		}()
	}
	h.publish(1)
	if returned.Load() == 0 {
		h.o.Stuck = 1
		return h.outcome()
	}
	h.o.Newest = 3
	h.find(h.hub.Subscribe(context.Background()))
	return h.outcome()
}

func TestReview_SubscriberMayPublish(t *testing.T) {
	t.Parallel()
	o := play(t, "subscribers publish")
	when := "subscribers publish when they get a value"
	checkPublish(t, o, when)
	if o.Stuck == 0 {
		checkFound(t, o, when)
	}
}

// forgotten: fifty subscribers had a value to read and did not. It is out of
// date, and they may have left: then nothing should hold it.
func forgotten(leave bool) outcome {
	hub := broadcast.New[*[1024]byte](nil)
	ctx, cancel := context.WithCancel(context.Background())
	var chans []<-chan *[1024]byte
	for range 50 {
		chans = append(chans, hub.Subscribe(ctx))
	}
	settle()
	old := offer(hub)
	settle()
	if leave {
		chans = nil
		cancel()
		settle()
	}
	hub.Publish(nil)
	settle()
	runtime.GC()
	runtime.GC()
	var o outcome
	if old.Value() != nil {
		o.Left = 1
	}
	runtime.KeepAlive(chans)
	runtime.KeepAlive(hub)
	cancel()
	return o
}

//go:noinline
func offer(hub *broadcast.Hub[*[1024]byte]) weak.Pointer[[1024]byte] {
	v := new([1024]byte)
	hub.Publish(v)
	return weak.Make(v)
}

func TestReview_OldValuesAreForgotten(t *testing.T) {
	t.Parallel()
	for scene, when := range map[string]string{
		"leavers are forgotten": "50 subscribers have left without reading it",
		"backlog is forgotten":  "50 subscribers have not read it",
	} {
		o := play(t, scene)
		if !probe.Equal(t, "old values held: "+when, o.Left, 0, "values") {
			probe.Errorf(t, "broadcast.retained", "the hub holds a value that is out of date: %s, and a newer one has been published.", when)
		}
	}
}

// hubForgotten: a hub with fifty subscribers is closed, one more may come after
// that, and then nobody has it any more. Their context lives on, as that of the
// whole service does.
func hubForgotten(late bool) (o outcome) {
	ctx, cancel := context.WithCancel(context.Background())
	last := closedHub(ctx, late)
	settle()
	runtime.GC()
	runtime.GC()
	if last.Value() != nil {
		o.Left = 1
	}
	cancel()
	return o
}

//go:noinline
func closedHub(ctx context.Context, late bool) weak.Pointer[[1024]byte] {
	hub := broadcast.New[*[1024]byte](nil)
	for range 50 {
		hub.Subscribe(ctx)
	}
	settle()
	last := offer(hub)
	settle()
	hub.Close()
	if late {
		hub.Subscribe(ctx)
		settle()
	}
	return last
}

func TestReview_ClosedHubIsForgotten(t *testing.T) {
	t.Parallel()
	for scene, whose := range map[string]string{
		"hub is forgotten": "of its 50 subscribers", "late one forgets": "of its 50 subscribers, and of one who came after Close,",
	} {
		o := play(t, scene)
		if !probe.Equal(t, "values held by contexts after Close: "+scene, o.Left, 0, "values") {
			probe.Errorf(t, "broadcast.retained", "a hub was closed and thrown away, and its last value is still in memory: the context %s lives on and holds it.", whose)
		}
	}
}

// publishedMeanwhile: somebody publishes at the very moment in which Subscribe
// looks at its context, wherever that is. The subscriber comes to that value.
func publishedMeanwhile() outcome {
	h := open()
	h.publish(1)
	const last = 3
	h.o.Newest = last
	var done atomic.Bool
	var once sync.Once
	ctx, cancel := context.WithCancel(context.Background())
	ch := h.hub.Subscribe(hooked{ctx, func() {
		once.Do(func() {
			go func() {
				h.hub.Publish(settings{Version: last})
				done.Store(true)
			}()
			// It may have to wait until Subscribe has returned.
			for range 20_000 {
				if done.Load() {
					return
				}
				runtime.Gosched()
			}
		})
	}})
	settle()
	h.find(ch)
	cancel()
	settle()
	return h.outcome()
}

// hooked is a context that calls f when it is asked for Done.
type hooked struct {
	context.Context
	f func()
}

func (h hooked) Done() <-chan struct{} {
	h.f()
	return h.Context.Done()
}

func TestReview_PublishedWhileOneSubscribes(t *testing.T) {
	t.Parallel()
	o := play(t, "published meanwhile")
	if len(o.Found) == 0 || o.Found[len(o.Found)-1] != o.Newest {
		probe.Errorf(t, "broadcast.diverged", "version %d was published while Subscribe was under way, and the subscriber found versions %v.", o.Newest, o.Found)
	}
}

// anyType: the values of a hub may be nil, and of several types.
func anyType() (o outcome) {
	hub := broadcast.New[any](nil)
	ctx, cancel := context.WithCancel(context.Background())
	ch := hub.Subscribe(ctx)
	for _, v := range []any{1, "two", nil, errors.ErrUnsupported} {
		hub.Publish(v)
		settle()
		select {
		case got := <-ch:
			if got != v {
				o.Note = fmt.Sprintf("%v was published, and the subscriber found %v", v, got)
			}
		default:
			o.Note = fmt.Sprintf("%v was published, and the subscriber found nothing", v)
		}
	}
	cancel()
	hub.Close()
	settle()
	return o
}

func TestReview_ValuesOfAnyType(t *testing.T) {
	t.Parallel()
	if o := play(t, "values of any type"); o.Note != "" { // a panic is broadcast.crash
		probe.Errorf(t, "broadcast.any", "in a Hub[any], %s.", o.Note)
	}
}
