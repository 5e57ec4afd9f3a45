package positions_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pitstop/checker/probe"
	positions "pitstop/lessons/06_shared_cache"
	"pitstop/lessons/dispatch"
)

const ttl = time.Minute

// morning is where the test's clock begins.
var morning = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

func TestCache_RemembersWhatIsReported(t *testing.T) {
	c, db := newCache(t)
	c.Report(at("ada", 5))
	checkGet(t, c, db, "ada", 5, 0, "after one report")
	c.Report(at("ada", 3))
	checkGet(t, c, db, "ada", 5, 0, "after a report that came late")
	if n := c.Reports("ada"); n != 2 {
		probe.Errorf(t, "cache.count", "Reports gave %d after 2 reports, one of them late.", n)
	}
	if n := c.Reports("nobody"); n != 0 {
		probe.Errorf(t, "cache.count", "Reports gave %d for a courier who never reported.", n)
	}
}

func TestCache_LoadsWhatItDoesNotKnow(t *testing.T) {
	c, db := newCache(t)
	db.set(at("ada", 7))
	checkGet(t, c, db, "ada", 7, 1, "of a courier who has not reported")
	checkGet(t, c, db, "ada", 7, 1, "a second time")
	c.Report(at("ada", 8))
	checkGet(t, c, db, "ada", 8, 1, "after a report")
}

// Phones of the same courier report from several connections, as they do after
// a reconnect. Every report must count.
func TestCache_CountsEveryReport(t *testing.T) {
	c, _ := newCache(t)
	const phones, each = 4, 2000
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range phones {
		wg.Go(func() {
			<-start
			for n := range each {
				c.Report(at("ada", n))
				c.Get(t.Context(), "ada")
				if n%64 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	close(start)
	finish(t, &wg, "cache.hang", "%d goroutines that report and ask", phones)
	if n := c.Reports("ada"); !probe.Equal(t, "reports counted", n, phones*each, "reports") {
		probe.Errorf(t, "cache.lost_update", "%d reports came from %d goroutines, and %d were counted: %d updates are lost.",
			phones*each, phones, n, phones*each-n)
	}
}

// The database is slow. While it looks for a courier, that courier reports:
// what the phone says is newer, and must not be overwritten.
func TestCache_ReportDuringLoadIsKept(t *testing.T) {
	const couriers = 20
	c, db := newCache(t)
	open := db.close("")
	defer open()
	var wg sync.WaitGroup
	for n := range couriers {
		db.set(at(courier(n), 1))
		wg.Go(func() { c.Get(t.Context(), courier(n)) })
	}
	if !wait.Eventually(func() bool { return db.waiting.Load() == couriers }) {
		probe.Fatalf(t, "cache.serial", "%d of %d loads are under way when %d couriers are asked for at once: the others wait for them.",
			db.waiting.Load(), couriers, couriers)
	}
	for n := range couriers {
		within(t, "cache.serial", func() { c.Report(at(courier(n), 2)) },
			"Report of a courier whose position is being loaded")
	}
	open()
	finish(t, &wg, "cache.hang", "Get for %d couriers whose loads have ended", couriers)

	older, uncounted, twice := 0, 0, 0
	for n := range couriers {
		p, err := get(t, c, courier(n))
		if err != nil || p.At != minute(2) {
			older++
		}
		switch c.Reports(courier(n)) {
		case 0:
			uncounted++
		case 1:
		default:
			twice++
		}
	}
	if !probe.Equal(t, "reports kept that came during a load", couriers-older, couriers, "reports") {
		probe.Errorf(t, "cache.lost_update", "%d couriers reported while an older position was being loaded; for %d of them the older one is kept.", couriers, older)
	}
	if uncounted > 0 {
		probe.Errorf(t, "cache.lost_update", "%d couriers reported while a position was being loaded; for %d of them the report is not counted.", couriers, uncounted)
	}
	if twice > 0 {
		probe.Errorf(t, "cache.count", "%d couriers reported once each while a position was being loaded; for %d of them more reports are counted.", couriers, twice)
	}
}

// courier names courier n.
func courier(n int) string { return fmt.Sprintf("courier-%02d", n) }

// minute is so many minutes after eight.
func minute(n int) time.Time { return morning.Add(time.Duration(n) * time.Minute) }

// at is a position of that minute; its latitude is the minute, too.
func at(courier string, n int) dispatch.Position {
	return dispatch.Position{Courier: courier, Lat: float64(n), Lon: 17, At: minute(n)}
}

// database stands behind the cache. It counts loads, and can be closed for a
// while: then they wait, until it is opened or their context ends.
type database struct {
	loads, waiting atomic.Int64

	mu   sync.Mutex
	rows map[string]dispatch.Position
	fail error
	ctx  context.Context // of the last load
	gate chan struct{}   // nil while open
	only string          // the courier whose loads wait; empty: all

	clock atomic.Int64 // nanoseconds after eight
}

func newCache(t testing.TB) (*positions.Cache, *database) {
	t.Helper()
	db := &database{rows: map[string]dispatch.Position{}}
	c := positions.New(positions.Config{Load: db.load, TTL: ttl, Now: db.now})
	return c, db
}

func (db *database) now() time.Time { return morning.Add(time.Duration(db.clock.Load())) }

func (db *database) pass(d time.Duration) { db.clock.Add(int64(d)) }

func (db *database) load(ctx context.Context, courier string) (dispatch.Position, error) {
	db.loads.Add(1)
	db.mu.Lock()
	p, ok := db.rows[courier]
	err, gate, only := db.fail, db.gate, db.only
	db.ctx = ctx
	db.mu.Unlock()
	if gate != nil && (only == "" || only == courier) {
		db.waiting.Add(1)
		defer db.waiting.Add(-1)
		select {
		case <-gate:
		case <-ctx.Done():
			return dispatch.Position{}, ctx.Err()
		}
	}
	switch {
	case err != nil:
		return dispatch.Position{}, err
	case !ok:
		return dispatch.Position{}, fmt.Errorf("no row for %s", courier)
	}
	return p, nil
}

func (db *database) set(p dispatch.Position) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.rows[p.Courier] = p
}

func (db *database) failWith(err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.fail = err
}

// close makes loads wait until the function it returns is called: those of one
// courier, or of all where only is empty. A load that has begun keeps the row
// it has read.
func (db *database) close(only string) (open func()) {
	gate := make(chan struct{})
	db.mu.Lock()
	defer db.mu.Unlock()
	db.gate, db.only = gate, only
	return sync.OnceFunc(func() {
		db.mu.Lock()
		defer db.mu.Unlock()
		db.gate = nil
		close(gate)
	})
}

// checkGet asks for a courier and wants the position of that minute, after so
// many loads in all.
func checkGet(t *testing.T, c *positions.Cache, db *database, courier string, want, loads int, when string) {
	t.Helper()
	p, err := get(t, c, courier)
	if err != nil {
		probe.Fatalf(t, "cache.get", "Get %s gave the error %q.", when, err)
	}
	if p != at(courier, want) {
		probe.Errorf(t, "cache.get", "Get %s gave the position of minute %v; minute %d is the newest.", when, p.Lat, want)
	}
	if n := db.loads.Load(); n != int64(loads) {
		probe.Errorf(t, "cache.loads", "the database was asked %d times by a Get %s; %d is right.", n, when, loads)
	}
}

// get asks for a courier and gives up where no answer comes.
func get(t *testing.T, c *positions.Cache, courier string) (p dispatch.Position, err error) {
	t.Helper()
	within(t, "cache.hang", func() { p, err = c.Get(t.Context(), courier) }, "Get of %s", courier)
	return p, err
}

// within ends the test with code where f does not return in time.
func within(t *testing.T, code string, f func(), what string, args ...any) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(f)
	finish(t, &wg, code, what, args...)
}

// finish waits for wg, and ends the test with code where that takes too long.
func finish(t *testing.T, wg *sync.WaitGroup, code, what string, args ...any) {
	t.Helper()
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	limit := wait.Limit()
	select {
	case <-done:
	case <-time.After(limit):
		wait.InVain()
		probe.Fatalf(t, code, "%s: no answer after %v.", fmt.Sprintf(what, args...), limit)
	}
}

// wait is how long a test waits for what must come.
var wait = probe.Patience{Full: 5 * time.Second, Short: 500 * time.Millisecond}
