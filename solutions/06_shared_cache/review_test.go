//go:build review

package positions_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pitstop/checker/probe"
	positions "pitstop/lessons/06_shared_cache"
	"pitstop/lessons/dispatch"
)

// A report looks at what is known and then writes. Where another one comes in
// between, each step may be atomic and an update is lost all the same, and the
// race detector says nothing of it. Plausible is called between the two: the
// test holds the older report there until the newer one is through, or has to
// wait, as it should.
func TestReview_LookAndWriteAreOneStep(t *testing.T) {
	db := &database{rows: map[string]dispatch.Position{}}
	var looked atomic.Int64
	newer := make(chan struct{})
	entered := make(chan struct{})
	c := positions.New(positions.Config{Load: db.load, TTL: ttl, Now: db.now, Plausible: func(_, to dispatch.Position) bool {
		if to == at("ada", 2) && looked.Add(1) == 1 {
			close(entered)
			select {
			case <-newer:
			case <-time.After(150 * time.Millisecond):
			}
		}
		return true
	}})
	c.Report(at("ada", 1))
	var wg sync.WaitGroup
	wg.Go(func() { c.Report(at("ada", 2)) })
	select {
	case <-entered:
	case <-time.After(wait.Limit()):
		wait.InVain()
		probe.Fatalf(t, "cache.plausible", "a courier is known and reports a newer position, and Plausible has not been asked after %v.", wait.Limit())
	}
	wg.Go(func() {
		c.Report(at("ada", 3))
		close(newer)
	})
	finish(t, &wg, "cache.hang", "two reports at the same time")
	if p, err := get(t, c, "ada"); err != nil || p != at("ada", 3) {
		probe.Errorf(t, "cache.lost_update", "minute 3 was reported between the look and the write of minute 2, and Get gives minute %v: the older one has overwritten it.", p.Lat)
	}
	if n := c.Reports("ada"); !probe.Equal(t, "reports counted where two meet", n, 3, "reports") {
		probe.Errorf(t, "cache.lost_update", "of 3 reports %d are counted, where one came between the look and the write of another.", n)
	}
}

// What a report is compared with must be what it takes the place of. Minute 3 is
// held while Plausible compares it with minute 1. It is not plausible from minute
// 2, which comes in meanwhile and is served.
func TestReview_PlausibleIsAskedOfWhatIsReplaced(t *testing.T) {
	db := &database{rows: map[string]dispatch.Position{}}
	between := make(chan struct{})
	entered := make(chan struct{})
	enter := sync.OnceFunc(func() { close(entered) })
	c := positions.New(positions.Config{Load: db.load, TTL: ttl, Now: db.now, Plausible: func(from, to dispatch.Position) bool {
		if from == at("ada", 1) && to == at("ada", 3) {
			enter()
			select {
			case <-between:
			case <-time.After(150 * time.Millisecond): // minute 2 has to wait, as it may
			}
		}
		return from != at("ada", 2)
	}})
	c.Report(at("ada", 1))
	var wg sync.WaitGroup
	wg.Go(func() { c.Report(at("ada", 3)) })
	select {
	case <-entered:
	case <-time.After(wait.Limit()):
		wait.InVain()
		probe.Fatalf(t, "cache.plausible", "a courier is known and reports a newer position, and Plausible has not been asked after %v.", wait.Limit())
	}
	var served dispatch.Position
	wg.Go(func() {
		c.Report(at("ada", 2))
		served, _ = c.Get(t.Context(), "ada")
		close(between)
	})
	finish(t, &wg, "cache.hang", "two reports at the same time")
	if p, err := get(t, c, "ada"); err != nil || served == at("ada", 2) && p != served {
		probe.Errorf(t, "cache.plausible", "Get gave minute 2, and then minute %v, which is not plausible from there: Plausible was asked before minute 2 came in, and not again.", p.Lat)
	}
}

func TestReview_ImplausibleIsCountedAndNotKept(t *testing.T) {
	db := &database{rows: map[string]dispatch.Position{}}
	c := positions.New(positions.Config{Load: db.load, TTL: ttl, Now: db.now, Plausible: func(from, to dispatch.Position) bool {
		return to.Lat-from.Lat < 100
	}})
	for _, n := range []int{500, 700, 400, 510} {
		c.Report(at("ada", n))
	}
	checkGet(t, c, db, "ada", 510, 0, "after reports of minutes 500, 700, 400 and 510, where 700 is not plausible,")
	if n := c.Reports("ada"); n != 4 {
		probe.Errorf(t, "cache.count", "Reports gave %d after 4 reports, one late and one not plausible.", n)
	}
	db.set(at("ada", 900))
	db.pass(2 * ttl)
	checkGet(t, c, db, "ada", 900, 1, "of an expired position, where the database has one that no phone could have reported,")
	if n := c.Reports("ada"); n != 4 {
		probe.Errorf(t, "cache.count", "Reports gave %d after 4 reports and a load.", n)
	}
}

// The first report makes the entry, and there may be several first ones.
func TestReview_FirstReportsMeet(t *testing.T) {
	reports, uncounted, older := 0, 0, 0
	// The more often they meet, the surer it shows; a busy machine meets less.
	for start := time.Now(); time.Since(start) < 300*time.Millisecond && uncounted+older == 0; {
		n, u, o := meet(t)
		reports, uncounted, older = reports+n, uncounted+u, older+o
	}
	if !probe.Equal(t, "reports lost where goroutines meet", uncounted, 0, "reports") {
		probe.Errorf(t, "cache.lost_update", "of %d reports from 4 goroutines %d were not counted: another one came in between the look and the write.",
			reports, uncounted)
	}
	if !probe.Equal(t, "couriers whose newest report is lost", older, 0, "couriers") {
		probe.Errorf(t, "cache.lost_update", "after %d reports, 4 for each courier, %d couriers are not where the newest says: another report came in between the look and the write.",
			reports, older)
	}
}

// meet lets four phones report once each for one courier after the other, all
// at the same time, and says how many reports were made, how many are not
// counted, and for how many couriers the newest is not what is kept.
func meet(t *testing.T) (reports, uncounted, older int) {
	t.Helper()
	const phones, couriers = 4, 2000
	names := make([]string, couriers)
	for i := range names {
		names[i] = courier(i)
	}
	c, _ := newCache(t)
	var arrived atomic.Int64
	var wg sync.WaitGroup
	for phone := range phones {
		wg.Go(func() {
			for i, name := range names {
				arrived.Add(1)
				for arrived.Load() < int64(phones*(i+1)) {
					runtime.Gosched()
				}
				c.Report(at(name, (phone+i)%phones))
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	// To read these figures stops the world, and a goroutine that is stopped
	// between its look and its write comes back after others have run.
	var m runtime.MemStats
	for seen, last, running := int64(-1), time.Now(), true; running; {
		select {
		case <-done:
			running = false
		default:
			runtime.ReadMemStats(&m)
			runtime.Gosched()
		}
		if n := arrived.Load(); n != seen {
			seen, last = n, time.Now()
		} else if time.Since(last) > wait.Limit() {
			wait.InVain()
			probe.Fatalf(t, "cache.hang", "%d goroutines report, and nothing moves any more after %d reports.", phones, seen)
		}
	}
	for _, name := range names {
		uncounted += phones - c.Reports(name)
		if p, _ := get(t, c, name); p.At != minute(phones-1) {
			older++
		}
	}
	return phones * couriers, uncounted, older
}

// The depot's screen counts while the phones report. The race detector looks on.
func TestReview_CountsWhileOthersReport(t *testing.T) {
	const phones, each = 2, 4000
	c, _ := newCache(t)
	c.Report(at("ada", 0))
	var reporting, counting sync.WaitGroup
	var over atomic.Bool
	for range phones {
		reporting.Go(func() {
			for n := range each {
				c.Report(at("ada", n))
			}
		})
	}
	var back atomic.Int64
	for range 2 {
		counting.Go(func() {
			for last := 0; !over.Load(); {
				n := c.Reports("ada")
				if n < last {
					back.Add(1)
				}
				last = n
				runtime.Gosched()
			}
		})
	}
	finish(t, &reporting, "cache.hang", "%d goroutines that report while others count", phones)
	over.Store(true)
	finish(t, &counting, "cache.hang", "2 goroutines that count")
	if n := back.Load(); n > 0 {
		probe.Errorf(t, "cache.count", "while %d goroutines reported, the count of reports went down %d times.", phones, n)
	}
}

// A load may end between the look of another caller and its question who is
// loading. That caller must not load what is known by then.
func TestReview_LoadEndsWhileOthersCome(t *testing.T) {
	const callers, couriers, rounds = 8, 50, 20
	asked, loads := 0, 0
	for range rounds {
		if loads > asked {
			break
		}
		asked, loads = asked+couriers, loads+crowd(t, callers, couriers)
	}
	again := loads - asked
	if !probe.Equal(t, "loads of what had just been loaded", again, 0, "loads") {
		probe.Errorf(t, "cache.loaded_twice", "%d callers at once asked for each of %d couriers, and the database was asked %d times: who looks before a load has ended, and asks for one after that, loads again what is known by then.",
			callers, asked, loads)
	}
}

// crowd lets so many callers ask for one courier after the other, all at the
// same time, and says how many loads that took.
func crowd(t *testing.T, callers, couriers int) (loads int) {
	t.Helper()
	c, db := newCache(t)
	names, gates := make([]string, couriers), make([]chan struct{}, couriers)
	for i := range names {
		names[i], gates[i] = courier(i), make(chan struct{})
		db.set(at(names[i], 1))
	}
	var arrived atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i, name := range names {
				if arrived.Add(1) == int64(callers*(i+1)) {
					close(gates[i])
				} else {
					<-gates[i]
				}
				c.Get(t.Context(), name)
			}
		})
	}
	var over atomic.Bool
	var gc sync.WaitGroup
	gc.Go(func() { // it stops callers between one step and the next
		for !over.Load() {
			runtime.GC()
		}
	})
	defer gc.Wait()
	defer over.Store(true)
	finish(t, &wg, "cache.hang", "%d callers who ask for the same couriers", callers)
	return int(db.loads.Load())
}

// answers are those of many callers.
type answers struct {
	wg   sync.WaitGroup
	mu   sync.Mutex
	pos  []dispatch.Position
	errs []error
}

func (a *answers) ask(ctx context.Context, c *positions.Cache, courier string) {
	a.wg.Go(func() {
		p, err := c.Get(ctx, courier)
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil {
			a.errs = append(a.errs, err)
		} else {
			a.pos = append(a.pos, p)
		}
	})
}

// given is how many answers there are so far.
func (a *answers) given() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.pos) + len(a.errs)
}

func TestReview_ManyCallersLoadOnce(t *testing.T) {
	const callers = 100
	c, db := newCache(t)
	db.set(at("ada", 7))
	open := db.close("")
	defer open()
	var a answers
	for range callers {
		a.ask(t.Context(), c, "ada")
	}
	wait.Eventually(func() bool { return db.waiting.Load() > 0 })
	// A cache that lets more through needs a moment to show it.
	probe.Poll(30*time.Millisecond, func() bool { return db.loads.Load() == callers })
	open()
	finish(t, &a.wg, "cache.hang", "%d callers of Get for the same courier, after the load has ended", callers)
	if n := db.loads.Load(); !probe.Equal(t, "loads for 100 callers at once", n, 1, "loads") {
		probe.Errorf(t, "cache.stampede", "%d callers asked for the same courier at once, and the database was asked %d times.", callers, n)
	}
	for _, p := range a.pos {
		if p != at("ada", 7) {
			probe.Fatalf(t, "cache.get", "one of %d callers got %+v; the database has %+v.", callers, p, at("ada", 7))
		}
	}
	if len(a.errs) > 0 {
		probe.Errorf(t, "cache.get", "%d of %d callers got an error, as %q.", len(a.errs), callers, a.errs[0])
	}
}

var errDown = errors.New("the database is down")

func TestReview_FailedLoadTellsAllAndIsForgotten(t *testing.T) {
	const callers = 20
	c, db := newCache(t)
	db.set(at("ada", 7))
	db.failWith(errDown)
	open := db.close("")
	defer open()
	var a answers
	for range callers {
		a.ask(t.Context(), c, "ada")
	}
	wait.Eventually(func() bool { return db.waiting.Load() > 0 })
	probe.Poll(30*time.Millisecond, func() bool { return db.loads.Load() == callers })
	open()
	finish(t, &a.wg, "cache.hang", "%d callers of Get who wait for a load that has failed", callers)
	told := 0
	for _, err := range a.errs {
		if errors.Is(err, errDown) {
			told++
		}
	}
	if !probe.Equal(t, "callers told of a failed load", told, callers, "callers") {
		probe.Errorf(t, "cache.error", "a load failed; %d of %d callers got an error that wraps its cause, %d got another one, %d got none.",
			told, callers, len(a.errs)-told, len(a.pos))
	}

	// Callers who come after the failure load again, and a busy machine may let
	// some of them come late. Where each sends its own, it is all of them.
	n := db.loads.Load()
	probe.Note(t, "loads for 20 callers, where they fail", n, "loads")
	if n > callers/2 {
		probe.Errorf(t, "cache.stampede", "%d callers asked for the same courier at once, the load failed, and then the database, which is down, was asked %d times in all.", callers, n)
	}

	db.failWith(nil)
	p, err := get(t, c, "ada")
	if err != nil || p != at("ada", 7) {
		probe.Errorf(t, "cache.error_cached", "the database is back, and Get still gives the error %v, and the position of minute %v.", err, p.Lat)
	}
}

func TestReview_CancelIsForOneCaller(t *testing.T) {
	for _, first := range []bool{true, false} {
		name := "the first caller goes"
		if !first {
			name = "a later caller goes"
		}
		t.Run(name, func(t *testing.T) {
			c, db := newCache(t)
			db.set(at("ada", 7))
			open := db.close("")
			defer open()
			var goes, stays answers
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if first {
				goes.ask(ctx, c, "ada")
			} else {
				stays.ask(t.Context(), c, "ada")
			}
			if !wait.Eventually(func() bool { return db.waiting.Load() == 1 }) {
				probe.Fatalf(t, "cache.get", "Get for a courier who is not known has not asked the database after %v.", wait.Limit())
			}
			const others = 8
			if first {
				for range others {
					stays.ask(t.Context(), c, "ada")
				}
			} else {
				goes.ask(ctx, c, "ada")
			}
			probe.Poll(20*time.Millisecond, func() bool { return db.loads.Load() > 1 }) // they are in Get by now

			cancel()
			finish(t, &goes.wg, "cache.wait", "Get of a caller whose context has ended, while a load is under way")
			if len(goes.errs) != 1 || !errors.Is(goes.errs[0], context.Canceled) {
				probe.Errorf(t, "cache.wait", "a caller cancelled its context during a load, and got %v: it must get context.Canceled.", goes.errs)
			}
			if !first {
				for range others - 1 {
					stays.ask(t.Context(), c, "ada")
				}
				probe.Poll(20*time.Millisecond, func() bool { return db.loads.Load() > 1 })
				if n := db.loads.Load(); n != 1 {
					probe.Errorf(t, "cache.stampede", "a caller went, another came, and the database was asked %d times though the first load is under way.", n)
				}
			}
			open()
			finish(t, &stays.wg, "cache.hang", "Get of the callers who stayed, after the load could end")
			if n := len(stays.pos); !probe.Equal(t, "callers served though another went", n, others, "callers") {
				probe.Errorf(t, "cache.cancel", "one caller cancelled its context, and %d of %d others got the position; the rest got errors, the first %v.", n, others, stays.errs[:min(1, len(stays.errs))])
			}
		})
	}
}

// The first caller has a deadline, and the load outlives it.
func TestReview_DeadlineIsForOneCaller(t *testing.T) {
	c, db := newCache(t)
	db.set(at("ada", 7))
	open := db.close("")
	defer open()
	var goes, stays answers
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	goes.ask(ctx, c, "ada")
	if !wait.Eventually(func() bool { return db.loads.Load() == 1 }) {
		probe.Fatalf(t, "cache.get", "Get for a courier who is not known has not asked the database after %v.", wait.Limit())
	}
	stays.ask(t.Context(), c, "ada")
	finish(t, &goes.wg, "cache.wait", "Get of a caller whose deadline has passed, while a load is under way")
	probe.Poll(10*time.Millisecond, func() bool { return stays.given() > 0 })
	open()
	finish(t, &stays.wg, "cache.hang", "Get of the caller who stayed, after the load could end")
	if len(stays.pos) != 1 || stays.pos[0] != at("ada", 7) {
		probe.Errorf(t, "cache.cancel", "the deadline of the first caller passed during a load, and another one, who has none, got the error %v.", stays.errs)
	}
}

// All callers have gone. Who stops their load then must not give its error to
// those who come before it has ended.
func TestReview_CallerAfterAllHaveGone(t *testing.T) {
	const others = 8
	gate, linger := make(chan struct{}), make(chan struct{})
	var begun, ended atomic.Int64 // loads; and those whose context ended
	c := positions.New(positions.Config{TTL: ttl, Load: func(ctx context.Context, courier string) (dispatch.Position, error) {
		begun.Add(1)
		select {
		case <-gate:
			return at(courier, 7), nil
		case <-ctx.Done():
			ended.Add(1)
			<-linger // a query takes a moment to stop
			return dispatch.Position{}, ctx.Err()
		}
	}})
	stop, open := sync.OnceFunc(func() { close(linger) }), sync.OnceFunc(func() { close(gate) })
	defer stop()
	defer open()
	var goes, stays answers
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	goes.ask(ctx, c, "ada")
	if !wait.Eventually(func() bool { return begun.Load() == 1 }) {
		probe.Fatalf(t, "cache.get", "Get for a courier who is not known has not asked the database after %v.", wait.Limit())
	}
	cancel()
	wait.Eventually(func() bool { return ended.Load() > 0 || goes.given() == 1 })
	for range others {
		stays.ask(t.Context(), c, "ada")
	}
	probe.Poll(30*time.Millisecond, func() bool { return begun.Load() > 1 }) // they are in Get by now
	stop()
	open()
	finish(t, &goes.wg, "cache.wait", "Get of a caller whose context has ended")
	finish(t, &stays.wg, "cache.hang", "Get of callers who came after the only one had gone")
	stays.mu.Lock()
	defer stays.mu.Unlock()
	if n := len(stays.pos); !probe.Equal(t, "callers served after all had gone", n, others, "callers") {
		probe.Errorf(t, "cache.cancel", "the only caller of a load went, %d others came before that load had ended, and %d of them got the position; the rest got errors, the first %v.", others, n, stays.errs[:min(1, len(stays.errs))])
	}
}

func TestReview_SlowLoadHoldsUpNobodyElse(t *testing.T) {
	const others = 64
	c, db := newCache(t)
	for n := range others {
		db.set(at(courier(n), 1))
	}
	db.set(at("slow", 1))
	c.Report(at("known", 4))
	open := db.close("slow")
	defer open()
	var a answers
	a.ask(t.Context(), c, "slow")
	wait.Eventually(func() bool { return db.waiting.Load() == 1 })

	within(t, "cache.serial", func() { c.Get(t.Context(), "known") }, "Get of a known courier, while another is being loaded")
	for n := range others {
		within(t, "cache.serial", func() { c.Get(t.Context(), courier(n)) }, "Get of courier %d of %d who are not known, while another is being loaded", n+1, others)
		within(t, "cache.serial", func() { c.Report(at(courier(n), 2)) }, "Report of courier %d of %d, while another is being loaded", n+1, others)
	}
	within(t, "cache.serial", func() { c.Report(at("slow", 3)) }, "Report of a courier who is being loaded")
	var p dispatch.Position
	within(t, "cache.serial", func() { p, _ = c.Get(t.Context(), "slow") }, "Get of a courier who reported while being loaded")
	if p != at("slow", 3) {
		probe.Errorf(t, "cache.lost_update", "a courier reported minute 3 while being loaded, and a Get after that gave minute %v.", p.Lat)
	}
	open()
	finish(t, &a.wg, "cache.hang", "Get of a courier whose load has ended")
}

// The load fails, the phone reports meanwhile: that report is all there is.
func TestReview_ReportDuringFailingLoadIsKept(t *testing.T) {
	c, db := newCache(t)
	db.failWith(errDown)
	open := db.close("")
	defer open()
	var a answers
	a.ask(t.Context(), c, "ada")
	wait.Eventually(func() bool { return db.waiting.Load() == 1 })
	within(t, "cache.serial", func() { c.Report(at("ada", 3)) }, "Report of a courier who is being loaded")
	open()
	finish(t, &a.wg, "cache.hang", "Get of a courier whose load has failed")
	p, err := get(t, c, "ada")
	if err != nil || p != at("ada", 3) || c.Reports("ada") != 1 {
		probe.Errorf(t, "cache.lost_update", "a courier reported minute 3 during a load that failed; now Get gives minute %v with the error %v, and %d reports are counted.",
			p.Lat, err, c.Reports("ada"))
	}
}

func TestReview_PositionsExpire(t *testing.T) {
	want := func(t *testing.T, c *positions.Cache, db *database, minute, loads int, when string) {
		t.Helper()
		p, err := get(t, c, "ada")
		if err != nil || p != at("ada", minute) {
			probe.Errorf(t, "cache.expiry", "Get %s gave minute %v and the error %v; minute %d is right.", when, p.Lat, err, minute)
		}
		if n := db.loads.Load(); n != int64(loads) {
			probe.Errorf(t, "cache.expiry", "the database has been asked %d times with a Get %s; %d is right.", n, when, loads)
		}
	}
	t.Run("since it was reported", func(t *testing.T) {
		c, db := newCache(t)
		db.set(at("ada", 9))
		c.Report(at("ada", 5))
		db.pass(ttl - time.Second)
		want(t, c, db, 5, 0, "a second before the TTL is over")
		db.pass(2 * time.Second)
		want(t, c, db, 9, 1, "a second after the TTL, with one Get in between")
		db.pass(ttl - time.Second)
		want(t, c, db, 9, 1, "a second before the TTL since the load is over")
		db.pass(2 * time.Second)
		want(t, c, db, 9, 2, "a second after the TTL since the load, with one Get in between")
		db.pass(2 * ttl)
		c.Report(at("ada", 10))
		want(t, c, db, 10, 2, "after a report")
		if n := c.Reports("ada"); n != 2 {
			probe.Errorf(t, "cache.lost_update", "a courier has reported twice, an expiry in between, and %d reports are counted.", n)
		}
	})
	t.Run("the database is behind", func(t *testing.T) {
		c, db := newCache(t)
		db.set(at("ada", 3))
		c.Report(at("ada", 5))
		db.pass(2 * ttl)
		want(t, c, db, 5, 1, "after the TTL, where the database has minute 3")
		want(t, c, db, 5, 1, "right after a load that brought nothing newer")
	})
	t.Run("the database fails", func(t *testing.T) {
		c, db := newCache(t)
		c.Report(at("ada", 5))
		db.failWith(errDown)
		db.pass(2 * ttl)
		if p, err := get(t, c, "ada"); !errors.Is(err, errDown) {
			probe.Errorf(t, "cache.expiry", "an expired position could not be loaded; Get gave minute %v and the error %v, which does not wrap the cause.", p.Lat, err)
		}
	})
	t.Run("a load takes longer than the TTL", func(t *testing.T) {
		c, db := newCache(t)
		db.set(at("ada", 9))
		open := db.close("")
		defer open()
		var a answers
		a.ask(t.Context(), c, "ada")
		wait.Eventually(func() bool { return db.waiting.Load() == 1 })
		db.pass(2 * ttl)
		open()
		finish(t, &a.wg, "cache.hang", "Get of a courier whose load has ended")
		want(t, c, db, 9, 1, "right after a load that took longer than the TTL")
	})
	t.Run("a late report after the TTL", func(t *testing.T) {
		c, db := newCache(t)
		db.set(at("ada", 4))
		c.Report(at("ada", 5))
		db.pass(2 * ttl)
		c.Report(at("ada", 3))
		want(t, c, db, 5, 1, "where minute 5 has expired, minute 3 was reported after that, and the database has minute 4")
	})
	t.Run("a report and its end during a load", func(t *testing.T) {
		c, db := newCache(t)
		db.set(at("ada", 9))
		open := db.close("")
		defer open()
		var a answers
		a.ask(t.Context(), c, "ada")
		wait.Eventually(func() bool { return db.waiting.Load() == 1 })
		within(t, "cache.serial", func() { c.Report(at("ada", 3)) }, "Report of a courier who is being loaded")
		db.pass(2 * ttl)
		a.ask(t.Context(), c, "ada")
		probe.Poll(20*time.Millisecond, func() bool { return db.loads.Load() > 1 })
		open()
		finish(t, &a.wg, "cache.hang", "Get of a courier whose load has ended")
		if n := db.loads.Load(); n != 1 {
			probe.Errorf(t, "cache.stampede", "a courier reported during a load, that report expired, and another caller came: %d queries for one courier at a time.", n)
		}
	})
	t.Run("a late report does not renew", func(t *testing.T) {
		c, db := newCache(t)
		db.set(at("ada", 9))
		c.Report(at("ada", 5))
		db.pass(ttl - time.Second)
		c.Report(at("ada", 2))
		db.pass(2 * time.Second)
		want(t, c, db, 9, 1, "after the TTL, with a report from before in between")
	})
}

func TestReview_LoadCarriesTheCallersValues(t *testing.T) {
	type traceKey struct{}
	c, db := newCache(t)
	db.set(at("ada", 7))
	ctx := context.WithValue(t.Context(), traceKey{}, "4bf92f35")
	within(t, "cache.hang", func() { c.Get(ctx, "ada") }, "Get")
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.ctx == nil || db.ctx.Value(traceKey{}) != "4bf92f35" {
		probe.Errorf(t, "cache.values", "the context of a load has no values of the caller who wanted it: its query is missing from the trace.")
	}
}
