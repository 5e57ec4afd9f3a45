package scanner_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pitstop/checker/probe"
	scanner "pitstop/lessons/02_request_scope"
)

const workers = 4

func TestServeConn_AnswersEachLine(t *testing.T) {
	db := newStore(t)
	s := serve(t, t.Context(), config(db), nil)
	s.client.send("a shelf 1", "b shelf 2", "c shelf 3", "d shelf 4")
	db.started(workers)

	// A context that is cancelled behind the call shows it here, before the
	// database answers.
	probe.Poll(30*time.Millisecond, func() bool { return db.cancelled.Load() > 0 })
	if n := db.cancelled.Load(); !probe.Equal(t, "queries cancelled while the scanner waits", n, 0, "queries") {
		probe.Fatalf(t, "scope.born_dead", "%d of %d queries were cancelled although their scanner waits for them.", n, workers)
	}
	db.open()
	got := map[string]bool{}
	for range workers {
		got[s.client.line("scope.no_reply")] = true
	}
	for _, want := range []string{"a ok shelf 1", "b ok shelf 2", "c ok shelf 3", "d ok shelf 4"} {
		if !got[want] {
			probe.Errorf(t, "scope.reply", "the reply %q did not come; these did: %v.", want, got)
		}
	}
}

func TestServeConn_HangUpCancelsItsQueries(t *testing.T) {
	leaked := probe.Baseline()
	db, other := newStore(t), newStore(t)
	srv := scanner.New(scanner.Config{Workers: workers, WriteTimeout: time.Minute, Handle: func(ctx context.Context, text string) (string, error) {
		if text == "other" {
			return other.query(ctx, text)
		}
		return db.query(ctx, text)
	}})
	stays := connect(t, t.Context(), srv, nil)
	stays.client.send("x other")
	other.started(1)
	goes := connect(t, t.Context(), srv, nil)
	db.holdRollback() // a database that is told to stop needs a moment
	goes.client.send("a shelf 1", "b shelf 2", "c shelf 3")
	db.started(3)
	goes.client.Close()
	checkEnd(t, goes, db, 3, "the scanner has hung up")

	if n := other.cancelled.Load(); !probe.Equal(t, "queries of another scanner cancelled", n, 0, "queries") {
		probe.Errorf(t, "scope.other_cancelled", "a scanner hung up, and %d query of another one was cancelled.", n)
	}
	other.open()
	if got := stays.client.line("scope.no_reply"); got != "x ok other" {
		probe.Errorf(t, "scope.reply", "after one scanner hung up, another got %q instead of %q.", got, "x ok other")
	}
	stays.client.Close()
	stays.over("scope.stuck", "its scanner has hung up and has no query left")
	if gs := leaked(t, 300*time.Millisecond); len(gs) > 0 {
		probe.Errorf(t, "scope.leak", "%d goroutines are left after both scanners hung up: %s.", len(gs), probe.Where(gs))
	}
}

func TestServeConn_StalledScannerHoldsNoWorker(t *testing.T) {
	db := newStore(t)
	db.open()
	db.reply = strings.Repeat("shelf ", 1<<20)
	srv := scanner.New(config(db))
	stalled := connect(t, t.Context(), srv, small)
	stalled.client.SetReadBuffer(4 << 10)
	for i := range workers {
		stalled.client.send(fmt.Sprintf("s%d big", i))
	}
	if !patience.Eventually(func() bool { return db.answered.Load() == workers }) {
		probe.Fatalf(t, "scope.no_reply", "%d of %d lines have reached Handle.", db.answered.Load(), workers)
	}

	// The database is done with all of it. Now another scanner comes.
	sound := connect(t, t.Context(), srv, nil)
	const most = 300
	busy := 0
	for ; busy < most; busy++ {
		sound.client.send("b small")
		if sound.client.line("scope.stalled") == "b ok small" {
			break
		}
		time.Sleep(time.Millisecond / 2)
	}
	probe.Note(t, "busy replies while a scanner is stalled", busy, "replies")
	if busy == most {
		probe.Errorf(t, "scope.stalled", "%d times a sound scanner was told busy: %d replies that one stalled scanner does not read hold all %d workers.",
			busy, workers, workers)
	}
	stalled.client.Close()
	stalled.over("scope.stuck", "its scanner has hung up and has no query left")
}

// config makes a server's configuration whose queries go to db. Its write
// timeout is longer than any test waits.
func config(db *store) scanner.Config {
	return scanner.Config{Workers: workers, Handle: db.query, WriteTimeout: time.Minute}
}

// checkEnd checks that the end of a connection cancels its n queries, and that
// ServeConn waits until they are back. The store holds each one up for now.
func checkEnd(t *testing.T, s *session, db *store, n int64, why string) {
	t.Helper()
	probe.Poll(patience.Limit(), func() bool { return db.cancelled.Load() >= n || s.isOver() })
	if s.isOver() {
		// It returned before the queries did: they may at least be on the way.
		probe.Poll(50*time.Millisecond, func() bool { return db.cancelled.Load() >= n })
	}
	if got := db.cancelled.Load(); !probe.Equal(t, "queries cancelled when "+why, got, n, "queries") {
		if !s.isOver() {
			patience.InVain()
		}
		probe.Errorf(t, "scope.survives", "%s: %d of its %d queries were cancelled.", why, got, n)
	}
	probe.Poll(20*time.Millisecond, s.isOver) // one that returns early does so now
	if inside := db.inside.Load(); s.isOver() && inside > 0 {
		probe.Errorf(t, "scope.early_return", "ServeConn returned with %d of %d calls of Handle still at work.", inside, n)
	}
	db.rollback()
	if db.cancelled.Load() == n {
		s.over("scope.stuck", why+" and all its queries have returned")
	}
}

// store stands for the database. A query waits until the store is open, and
// ends early when its context does.
type store struct {
	t        testing.TB
	gate     chan struct{}
	open     func()
	hold     chan struct{} // closed: a cancelled query may return
	rollback func()
	reply    string // the answer to "big"

	begun, inside, answered, cancelled atomic.Int64

	mu    sync.Mutex
	texts []string // what was asked
}

func newStore(t testing.TB) *store {
	db := &store{t: t, gate: make(chan struct{}), hold: make(chan struct{})}
	db.open = sync.OnceFunc(func() { close(db.gate) })
	db.rollback = func() {}
	close(db.hold)
	t.Cleanup(func() { db.open(); db.rollback() })
	return db
}

// holdRollback makes cancelled queries wait until rollback is called. It comes
// before the first query.
func (db *store) holdRollback() {
	hold := make(chan struct{})
	db.hold = hold
	db.rollback = sync.OnceFunc(func() { close(hold) })
}

func (db *store) query(ctx context.Context, text string) (string, error) {
	db.inside.Add(1)
	defer db.inside.Add(-1)
	db.mu.Lock()
	db.texts = append(db.texts, text)
	db.mu.Unlock()
	db.begun.Add(1)
	select {
	case <-ctx.Done():
	case <-db.gate:
		if ctx.Err() == nil {
			defer db.answered.Add(1)
			if text == "big" {
				return db.reply, nil
			}
			return text, nil
		}
	}
	db.cancelled.Add(1)
	<-db.hold
	return "", ctx.Err()
}

// started waits until n queries have begun.
func (db *store) started(n int64) {
	db.t.Helper()
	if !patience.Eventually(func() bool { return db.begun.Load() >= n }) {
		probe.Fatalf(db.t, "scope.no_query", "%d of %d lines have reached Handle.", db.begun.Load(), n)
	}
}

// session is one call of ServeConn and the scanner at its other end.
type session struct {
	t      testing.TB
	client *client
	done   chan struct{} // closed when ServeConn has returned
	err    error         // what it returned
}

func serve(t testing.TB, ctx context.Context, cfg scanner.Config, wrap func(*net.TCPConn) net.Conn) *session {
	t.Helper()
	return connect(t, ctx, scanner.New(cfg), wrap)
}

// connect lets srv serve one more scanner, over a real connection. wrap, if
// there is one, makes what the server sees of it.
func connect(t testing.TB, ctx context.Context, srv *scanner.Server, wrap func(*net.TCPConn) net.Conn) *session {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := &session{t: t, client: dial(t, ln.Addr()), done: make(chan struct{})}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn := accepted
	if wrap != nil {
		conn = wrap(accepted.(*net.TCPConn))
	}
	go func() {
		defer close(s.done)
		s.err = srv.ServeConn(ctx, conn)
	}()
	t.Cleanup(func() { accepted.Close() })
	return s
}

// small gives a connection little room for what the scanner does not read.
func small(conn *net.TCPConn) net.Conn {
	conn.SetWriteBuffer(4 << 10)
	return conn
}

func (s *session) isOver() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// over waits until ServeConn has returned, and ends the test with code when it
// does not.
func (s *session) over(code, situation string) {
	s.t.Helper()
	limit := patience.Limit()
	select {
	case <-s.done:
	case <-time.After(limit):
		patience.InVain()
		probe.Fatalf(s.t, code, "ServeConn was not back after %v; %s.", limit, situation)
	}
}

// client is a hand scanner.
type client struct {
	*net.TCPConn
	t testing.TB
	r *bufio.Reader
}

func dial(t testing.TB, addr net.Addr) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{TCPConn: conn.(*net.TCPConn), t: t, r: bufio.NewReader(conn)}
}

func (c *client) send(lines ...string) {
	c.t.Helper()
	if _, err := c.Write([]byte(strings.Join(lines, "\n") + "\n")); err != nil {
		probe.Fatalf(c.t, "scope.cut", "the server does not take a line: %v.", err)
	}
}

// line reads one reply, and ends the test with code when none comes.
func (c *client) line(code string) string {
	c.t.Helper()
	limit := patience.Limit()
	c.SetReadDeadline(time.Now().Add(limit))
	line, err := c.r.ReadString('\n')
	if err != nil {
		patience.InVain()
		probe.Fatalf(c.t, code, "the scanner waited up to %v for a reply and got %q, then %v.", limit, line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// patience is how long a test waits for what must come.
var patience = probe.Patience{Full: 3 * time.Second, Short: 400 * time.Millisecond}
