//go:build review

package health_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pitstop/checker/probe"
	health "pitstop/lessons/22_health"
)

func TestReview_ThousandProbesCauseOnePing(t *testing.T) {
	const probes, together = 1000, 50
	db := newDependency(t)
	open := db.waits(nil)
	h := health.New(lasting(db))
	h.Started()
	var inside atomic.Int64
	public := serve(t, counting(&inside, h.Handler()))
	admin := serve(t, h.Admin())
	t.Cleanup(open)

	var wg sync.WaitGroup
	var well atomic.Int64
	ask := func() {
		if a := public.ask(http.MethodGet, health.ReadyPath); a.code == http.StatusOK {
			well.Add(1)
		}
	}
	for range together {
		wg.Go(ask)
	}
	wait.Eventually(func() bool { return inside.Load() == together })
	probe.Poll(20*time.Millisecond, func() bool { return db.calls.Load() > 1 })
	open()
	wg.Wait()
	for range together {
		ask()
	}
	handler := h.Handler() // the others come without a network
	for range probes - 2*together {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, health.ReadyPath, nil))
		if rec.Code == http.StatusOK {
			well.Add(1)
		}
	}
	admin.get(health.StatusPath)
	n := db.calls.Load()
	if !probe.Equal(t, "pings for a thousand probes", n, 1, "pings") {
		probe.Errorf(t, "health.herd", "%d probes, %d of them at once, and one look at the status caused %d pings within one MaxAge.", probes, together, n)
	}
	if n := well.Load(); n != probes {
		probe.Errorf(t, "health.ready", "%d of %d probes were told ready by a service that is.", n, probes)
	}
}

func TestReview_ProbeThatLeavesChangesNothing(t *testing.T) {
	for _, second := range []string{"while another waits", "before another comes"} {
		t.Run(second, func(t *testing.T) {
			db := newDependency(t)
			open := db.waits(nil)
			h := health.New(lasting(db))
			h.Started()
			var inside atomic.Int64
			public := serve(t, counting(&inside, h.Handler()))
			t.Cleanup(open)

			ctx, leave := context.WithCancel(t.Context())
			left, other := make(chan answer, 1), make(chan answer, 1)
			go func() { left <- public.askContext(ctx, http.MethodGet, health.ReadyPath) }()
			if !wait.Eventually(func() bool { return db.inside.Load() == 1 }) {
				leave()
				probe.Fatalf(t, "health.no_ping", "a probe of a fresh service caused %d pings.", db.calls.Load())
			}
			if second == "while another waits" {
				go func() { other <- public.ask(http.MethodGet, health.ReadyPath) }()
				wait.Eventually(func() bool { return inside.Load() == 2 })
				time.Sleep(5 * time.Millisecond) // it finds the ping under way
			}
			leave()
			<-left
			probe.Poll(20*time.Millisecond, func() bool { return db.inside.Load() == 0 })
			open()
			if second == "before another comes" {
				other <- public.ask(http.MethodGet, health.ReadyPath)
			}
			for range 2 {
				a := <-other
				if !probe.Equal(t, "ready after a probe has left "+second, a.code, http.StatusOK, "status") {
					probe.Fatalf(t, "health.canceled_probe", "a probe left %s, and that one was told %d %q although the database works.", second, a.code, a.body)
				}
				other <- public.ask(http.MethodGet, health.ReadyPath)
			}
		})
	}
}

func TestReview_OutcomesAreRenewed(t *testing.T) {
	db := newDependency(t)
	cfg := config(db)
	cfg.Timeout, cfg.MaxAge = timeout, 5*time.Millisecond
	h := health.New(cfg)
	h.Started()
	public := serve(t, h.Handler())
	for _, turn := range []struct {
		name string
		do   func()
		code int
	}{
		{"works", db.works, http.StatusOK},
		{"refuses", func() { db.fails(errors.New("refused")) }, http.StatusServiceUnavailable},
		{"works again", db.works, http.StatusOK},
		{"hangs", db.hangs, http.StatusServiceUnavailable},
		{"works after it hung", db.works, http.StatusOK},
	} {
		turn.do()
		if !wait.Eventually(func() bool { return public.get(health.ReadyPath).code == turn.code }) {
			probe.Fatalf(t, "health.stale", "the database %s, and ready keeps answering otherwise than %d, with a MaxAge of %v.", turn.name, turn.code, cfg.MaxAge)
		}
	}
}

func TestReview_HungDependencyLeavesNothingBehind(t *testing.T) {
	leaked := probe.Baseline()
	db := newDependency(t)
	db.hangs()
	cfg := config(db)
	cfg.Timeout = timeout
	h := health.New(cfg)
	h.Started()
	public := serve(t, h.Handler())
	const probes = 20
	var wg sync.WaitGroup
	for range probes {
		wg.Go(func() { public.ask(http.MethodGet, health.ReadyPath) })
	}
	wg.Wait()
	if !wait.Eventually(func() bool { return db.inside.Load() == 0 }) {
		probe.Errorf(t, "health.ping_unbounded", "%d pings are still under way after all probes were answered: nothing has ended their context.", db.inside.Load())
	}
	public.stop()
	if gs := leaked(t, 300*time.Millisecond); len(gs) > 0 {
		probe.Errorf(t, "health.leak", "%d goroutines are left after %d probes of a service whose database hangs: %s.", len(gs), probes, probe.Where(gs))
	}
}

func TestReview_DeafDependencyIsAskedOnceAtATime(t *testing.T) {
	db := newDependency(t)
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	db.will(func(context.Context) error { // it does not look at its context
		<-gate
		return nil
	})
	cfg := config(db)
	cfg.Timeout = 20 * time.Millisecond
	h := health.New(cfg)
	h.Started()
	public := serve(t, h.Handler())
	t.Cleanup(open)
	const probes = 5
	for range probes {
		a := public.ask(http.MethodGet, health.ReadyPath)
		if a.err != nil {
			probe.Fatalf(t, "health.unbounded", "ready has not answered after %v while a ping does not heed its context, with a Timeout of %v.", a.waited, cfg.Timeout)
		}
		if a.code != http.StatusServiceUnavailable {
			probe.Fatalf(t, "health.ready", "ready answers %d while the database hangs.", a.code)
		}
	}
	if n := db.peak.Load(); !probe.AtMost(t, "pings of a deaf database at once", n, 1, "pings") {
		probe.Errorf(t, "health.pile_up", "%d pings of one check are under way after %d probes one after another: each that hangs costs a connection.", n, probes)
	}
	open()
	if !wait.Eventually(func() bool { return public.get(health.ReadyPath).code == http.StatusOK }) {
		probe.Errorf(t, "health.stale", "a ping that hung has come back, and ready still refuses.")
	}
}

func TestReview_TimeoutIsTheOneConfigured(t *testing.T) {
	const checks = 12
	gate := make(chan struct{})
	cfg := config()
	cfg.Timeout = timeout
	for range checks {
		cfg.Checks = append(cfg.Checks, health.Check{Name: "database", Ping: func(context.Context) error { // deaf, too
			<-gate
			return nil
		}})
	}
	h := health.New(cfg)
	h.Started()
	public, admin := serve(t, h.Handler()), serve(t, h.Admin())
	t.Cleanup(func() { close(gate) })
	const most = 10 * timeout
	for name, ask := range map[string]func() answer{
		"ready":  func() answer { return public.ask(http.MethodGet, health.ReadyPath) },
		"status": func() answer { return admin.ask(http.MethodGet, health.StatusPath) },
	} {
		var a answer
		fastest := time.Hour // one of three, for the machine may be busy
		for range 3 {
			a = ask()
			if a.err != nil {
				probe.Fatalf(t, "health.unbounded", "%s has not answered after %v while %d checks hang, with a Timeout of %v.", name, a.waited, checks, timeout)
			}
			if fastest = min(fastest, a.waited); fastest < most {
				break
			}
		}
		if fastest >= most {
			probe.Fatalf(t, "health.timeout", "%s took %v and more, each of three times, while %d checks hang: the Timeout of %v is for all of them together.", name, fastest, checks, timeout)
		}
		a.wantStatus(t, health.Unavailable)
		a.wantNoStore(t, name+", when the time is up,")
	}
}

func TestReview_ZeroMeansASecond(t *testing.T) {
	db := newDependency(t)
	h := health.New(health.Config{Checks: []health.Check{{Name: "database", Ping: func(ctx context.Context) error {
		if err := db.ping(ctx); err != nil {
			return err
		}
		return ctx.Err()
	}}}})
	h.Started()
	handler := h.Handler()
	begin := time.Now()
	for range 2 {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, health.ReadyPath, nil))
		// On a machine that is this slow nothing can be said.
		if fast := time.Since(begin) < time.Second/2; fast && rec.Code != http.StatusOK {
			probe.Errorf(t, "health.default", "no Timeout is configured, the database answers at once, and ready answers %d: 0 means one second.", rec.Code)
		} else if n := db.calls.Load(); fast && n != 1 {
			probe.Errorf(t, "health.default", "no MaxAge is configured, two probes came within %v, and %d pings were made: 0 means one second.", time.Since(begin).Round(time.Microsecond), n)
		}
	}
}

func TestReview_ChecksRunSideBySide(t *testing.T) {
	a, b, c := newDependency(t), newDependency(t), newDependency(t)
	all := []*dependency{a, b, c}
	met := make(chan struct{})
	var here atomic.Int64
	for _, d := range all {
		d.will(func(ctx context.Context) error { // each waits for the others
			if here.Add(1) == int64(len(all)) {
				close(met)
			}
			select {
			case <-met:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}
	cfg := lasting(all...)
	cfg.Timeout = 500 * time.Millisecond
	h := health.New(cfg)
	h.Started()
	public := serve(t, h.Handler())
	code := public.ask(http.MethodGet, health.ReadyPath).code
	if n := here.Load(); !probe.Equal(t, "checks under way together", n, len(all), "checks") || code != http.StatusOK {
		probe.Errorf(t, "health.serial", "%d of %d checks were under way together, and ready answers %d: a slow one takes the time of the others.", n, len(all), code)
	}

	// Each of them counts.
	for i, d := range all {
		t.Run(fmt.Sprintf("check %d fails", i), func(t *testing.T) {
			for _, d := range all {
				d.works()
			}
			d.fails(errors.New("refused"))
			h := health.New(config(all...))
			h.Started()
			checkReady(t, serve(t, h.Handler()), http.StatusServiceUnavailable, health.Unavailable, "health.check_skipped", fmt.Sprintf("when check %d of %d fails", i+1, len(all)))
		})
	}
	for i, d := range []*dependency{a, b} {
		t.Run(fmt.Sprintf("two checks of the same name, %d fails", i), func(t *testing.T) {
			a.works()
			b.works()
			d.fails(errors.New("refused"))
			cfg := lasting(a, b) // one asked for the other would answer for it
			cfg.Checks[1].Name = cfg.Checks[0].Name
			h := health.New(cfg)
			h.Started()
			checkReady(t, serve(t, h.Handler()), http.StatusServiceUnavailable, health.Unavailable, "health.check_skipped", fmt.Sprintf("when number %d of two checks named database fails", i+1))
		})
	}
	t.Run("no checks", func(t *testing.T) {
		h := health.New(config())
		h.Started()
		checkReady(t, serve(t, h.Handler()), http.StatusOK, health.Ready, "health.ready", "without any checks")
	})
}

func TestReview_FailureIsOfOneCheck(t *testing.T) {
	db, queue := newDependency(t), newDependency(t)
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	var begun, cut atomic.Bool
	db.will(func(ctx context.Context) error {
		begun.Store(true)
		select {
		case <-gate:
		case <-ctx.Done():
			cut.Store(true)
		}
		return ctx.Err()
	})
	queue.fails(errors.New("refused"))
	h := health.New(lasting(db, queue))
	h.Started()
	admin := serve(t, h.Admin())
	t.Cleanup(open)
	got := make(chan answer, 1)
	go func() { got <- admin.ask(http.MethodGet, health.StatusPath) }()
	if !wait.Eventually(func() bool { return begun.Load() && queue.calls.Load() == 1 && queue.inside.Load() == 0 }) {
		probe.Fatalf(t, "health.serial", "the database is slow and the queue refuses; one look at the status caused %d and %d pings.", db.calls.Load(), queue.calls.Load())
	}
	probe.Poll(20*time.Millisecond, cut.Load)
	open()
	if a := <-got; cut.Load() || !strings.Contains(a.body, `"`+health.OK+`"`) {
		probe.Errorf(t, "health.check_canceled", "the queue refused while the database, which is well, was being asked (its context ended early: %t), and the status says %s.",
			cut.Load(), strings.TrimSpace(a.body))
	}
}

// The age of an outcome begins when its ping has returned. Else a database that
// takes as long as MaxAge is asked by every probe, just when it is slow.
func TestReview_OutcomeOfASlowPingIsUsedAgain(t *testing.T) {
	for maxAge := 10 * time.Millisecond; maxAge < time.Second; maxAge *= 2 {
		var calls, returned atomic.Int64
		begin := time.Now()
		cfg := config()
		cfg.MaxAge = maxAge
		cfg.Checks = []health.Check{{Name: "database", Ping: func(context.Context) error {
			if calls.Add(1) == 1 {
				time.Sleep(maxAge + time.Millisecond)
				returned.Store(int64(time.Since(begin)))
			}
			return nil
		}}}
		h := health.New(cfg)
		h.Started()
		handler := h.Handler()
		for range 2 {
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, health.ReadyPath, nil))
		}
		if age := time.Since(begin) - time.Duration(returned.Load()); age >= maxAge {
			continue // the machine is busy, and this outcome is too old anyway
		}
		n := calls.Load()
		if !probe.Equal(t, "pings for two, where one outlasts MaxAge", n, 1, "pings") {
			probe.Errorf(t, "health.age", "a ping took longer than MaxAge, and the next probe came at once: %d pings. The age of an outcome begins when the ping returns.", n)
		}
		return
	}
}

func TestReview_StoppingIsFinal(t *testing.T) {
	for _, failure := range []error{nil, errors.New("refused")} {
		t.Run(fmt.Sprintf("for a probe under way, whose ping gives %v", failure), func(t *testing.T) {
			db := newDependency(t)
			open := db.waits(failure)
			h := health.New(lasting(db))
			h.Started()
			public := serve(t, h.Handler())
			t.Cleanup(open)
			got := make(chan answer, 1)
			go func() { got <- public.ask(http.MethodGet, health.ReadyPath) }()
			if !wait.Eventually(func() bool { return db.inside.Load() == 1 }) {
				probe.Fatalf(t, "health.no_ping", "a probe of a fresh service caused %d pings.", db.calls.Load())
			}
			h.Stopping()
			open()
			a := <-got
			if !probe.Equal(t, fmt.Sprintf("waited for a ping (%v), then Stopping", failure), a.code, http.StatusServiceUnavailable, "status") {
				probe.Errorf(t, "health.stopping", "a probe that waited for the database while Stopping was called is told %d.", a.code)
			} else if !strings.Contains(a.body, health.Stopping) {
				probe.Errorf(t, "health.stopping", "a probe waited for the database while Stopping was called, the ping gave %v, and the probe is told %s; it must say %s.",
					failure, strings.TrimSpace(a.body), health.Stopping)
			}
		})
	}
	t.Run("when an outcome is still fresh", func(t *testing.T) {
		h := health.New(lasting(newDependency(t)))
		h.Started()
		public := serve(t, h.Handler())
		checkReady(t, public, http.StatusOK, health.Ready, "health.ready", "when the service is up")
		h.Stopping()
		checkReady(t, public, http.StatusServiceUnavailable, health.Stopping, "health.stopping", "when shutdown has begun and an outcome is fresh")
		h.Stopping()
		h.Started()
		checkReady(t, public, http.StatusServiceUnavailable, health.Stopping, "health.stopping", "when Started was called after Stopping")
	})
	t.Run("before start-up has ended", func(t *testing.T) {
		h := health.New(lasting(newDependency(t)))
		public := serve(t, h.Handler())
		checkReady(t, public, http.StatusServiceUnavailable, health.Starting, "health.starting", "before start-up has ended")
		h.Stopping()
		h.Started()
		checkReady(t, public, http.StatusServiceUnavailable, health.Stopping, "health.stopping", "when the service was told to stop before it had started")
	})
}

func TestReview_HeadAndCaching(t *testing.T) {
	h := health.New(config(newDependency(t)))
	public, admin := serve(t, h.Handler()), serve(t, h.Admin())
	check := func(s *server, path string, code int) {
		t.Helper()
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := s.ask(method, path)
			if a.code != code {
				probe.Errorf(t, "health.head", "%s %s gives %d, not %d.", method, path, a.code, code)
				continue
			}
			a.wantNoStore(t, method+" "+path)
		}
	}
	check(public, health.LivePath, http.StatusOK)
	check(public, health.ReadyPath, http.StatusServiceUnavailable)
	h.Started()
	check(public, health.ReadyPath, http.StatusOK)
	check(admin, health.StatusPath, http.StatusOK)
}

func TestReview_StatusIsForOperatorsOnly(t *testing.T) {
	const secret = "hunter2"
	db, queue := newDependency(t), newDependency(t)
	db.fails(fmt.Errorf("dial postgres://dispatch:%s@db.internal:5432/orders: refused", secret))
	h := health.New(config(db, queue))
	h.Started()
	public, admin := serve(t, h.Handler()), serve(t, h.Admin())

	if a := public.get(health.StatusPath); a.code != http.StatusNotFound {
		probe.Errorf(t, "health.exposed", "the public port answers %s with %d: the version and the dependencies are for the admin port.", health.StatusPath, a.code)
	}
	for _, path := range []string{health.ReadyPath, health.LivePath} {
		a := public.get(path)
		for _, word := range []string{secret, "db.internal", "refused", "database", "1.4.2"} {
			if strings.Contains(a.body, word) || strings.Contains(fmt.Sprint(a.header), word) {
				probe.Errorf(t, "health.exposed", "%s shows %q to everyone who can reach the port: %s", path, word, a.body)
				break
			}
		}
	}

	a := admin.get(health.StatusPath)
	for _, word := range []string{secret, "db.internal", "refused"} {
		if strings.Contains(a.body, word) || strings.Contains(fmt.Sprint(a.header), word) {
			probe.Errorf(t, "health.secret", "%s shows %q, which is from the text of an error.", health.StatusPath, word)
		}
	}
	var got struct {
		Status, Version string
		Checks          []struct{ Name, Status string }
	}
	err := json.Unmarshal([]byte(a.body), &got)
	want := map[string]string{"database": health.Failed, "queue": health.OK}
	seen := map[string]string{}
	for _, c := range got.Checks {
		seen[c.Name] = c.Status
	}
	if err != nil || a.code != http.StatusOK || got.Status != health.Unavailable || got.Version != "1.4.2" || fmt.Sprint(seen) != fmt.Sprint(want) {
		probe.Errorf(t, "health.status", "with a database that fails and a queue that works, %s gives %d and %s.", health.StatusPath, a.code, strings.TrimSpace(a.body))
	}
	if a := admin.get(health.StatusPath); !strings.Contains(a.header.Get("Content-Type"), "application/json") {
		probe.Errorf(t, "health.json", "%s says that it is %q, not application/json.", health.StatusPath, a.header.Get("Content-Type"))
	}
	h.Stopping()
	if a := admin.get(health.StatusPath); a.code != http.StatusOK || !strings.Contains(a.body, health.Stopping) {
		probe.Errorf(t, "health.status", "while the service stops, %s gives %d and %s.", health.StatusPath, a.code, strings.TrimSpace(a.body))
	}
}

func TestReview_ServicesShareNothing(t *testing.T) {
	sick, sound := newDependency(t), newDependency(t)
	sick.fails(errors.New("refused"))
	a, b := health.New(lasting(sick)), health.New(lasting(sound))
	a.Started()
	b.Started()
	checkReady(t, serve(t, a.Handler()), http.StatusServiceUnavailable, health.Unavailable, "health.shared", "with a database that refuses")
	checkReady(t, serve(t, b.Handler()), http.StatusOK, health.Ready, "health.shared", "with a database that works, beside a Health of the same process whose database refuses")
}

// wantNoStore checks that an answer must not be stored.
func (a answer) wantNoStore(t testing.TB, what string) {
	t.Helper()
	if !strings.Contains(strings.ToLower(a.header.Get("Cache-Control")), "no-store") {
		probe.Errorf(t, "health.cached", "%s gives %d with the Cache-Control %q: without no-store a proxy may answer for a pod that is gone.",
			what, a.code, a.header.Get("Cache-Control"))
	}
}

// lasting watches deps with a MaxAge that no test outlives.
func lasting(deps ...*dependency) health.Config {
	cfg := config(deps...)
	cfg.MaxAge = time.Hour
	return cfg
}

// waits makes pings wait until the function it returns is called, or their
// context ends. Then they give err.
func (d *dependency) waits(err error) (open func()) {
	gate := make(chan struct{})
	d.will(func(ctx context.Context) error {
		select {
		case <-gate:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return sync.OnceFunc(func() { close(gate) })
}

// counting counts the requests that have reached h.
func counting(n *atomic.Int64, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h.ServeHTTP(w, r)
	})
}
