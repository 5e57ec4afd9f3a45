//go:build review

package scanner_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pitstop/checker/probe"
	scanner "pitstop/lessons/02_request_scope"
)

func TestReview_FullServerSaysSoAndStillHearsTheHangUp(t *testing.T) {
	db := newStore(t)
	db.holdRollback()
	srv := scanner.New(config(db))
	s := connect(t, t.Context(), srv, nil)
	for i := range workers {
		s.client.send(fmt.Sprintf("w%d shelf %d", i, i))
	}
	db.started(workers)

	// One more, from a scanner that has asked for nothing yet.
	other := connect(t, t.Context(), srv, nil)
	other.client.send("x shelf")
	probe.Poll(30*time.Millisecond, func() bool { return db.begun.Load() > workers })
	if n := db.begun.Load(); !probe.Equal(t, "queries begun by a full server", n, workers, "queries") {
		probe.Fatalf(t, "scope.unbounded", "%d queries were begun by a server of %d workers, for two scanners.", n, workers)
	}
	if got := other.client.line("scope.rejection"); got != "x busy" {
		probe.Fatalf(t, "scope.rejection", "with all %d workers busy, a line was answered with %q instead of %q.", workers, got, "x busy")
	}

	const extra = 50
	for _, c := range []*client{s.client, other.client} {
		for i := range extra {
			c.send(fmt.Sprintf("x%d shelf", i))
			if got, want := c.line("scope.rejection"), fmt.Sprintf("x%d busy", i); got != want {
				probe.Fatalf(t, "scope.rejection", "with all %d workers busy, a line was answered with %q instead of %q.", workers, got, want)
			}
		}
	}
	if n := db.begun.Load(); n != workers {
		probe.Fatalf(t, "scope.unbounded", "%d queries were begun by a server of %d workers.", n, workers)
	}
	s.client.Close()
	// Its queries are cancelled and still at work: a rollback takes a moment.
	if patience.Eventually(func() bool { return db.cancelled.Load() == workers }) {
		other.client.send("r shelf")
		if got := other.client.line("scope.rejection"); got != "r busy" {
			probe.Errorf(t, "scope.unbounded", "a scanner has hung up, all %d calls of Handle are rolling back, and a line of another was answered with %q: more than %d calls at once.", workers, got, workers)
		}
	}
	checkEnd(t, s, db, workers, "the scanner of a full server has hung up")

	// The workers are free for the others now.
	db.open()
	if !patience.Eventually(func() bool {
		other.client.send("y shelf")
		return other.client.line("scope.worker_lost") == "y ok shelf"
	}) {
		probe.Errorf(t, "scope.worker_lost", "a scanner hung up, its %d queries were cancelled, and others are still told busy.", workers)
	}
}

func TestReview_BrokenConnectionCancelsItsQueries(t *testing.T) {
	db := newStore(t)
	db.holdRollback()
	s := serve(t, t.Context(), config(db), nil)
	s.client.send("a shelf 1", "b shelf 2")
	db.started(2)
	s.client.SetLinger(0) // Close now sends a reset, as a scanner that reboots
	s.client.Close()
	checkEnd(t, s, db, 2, "the connection was reset")
}

func TestReview_EndOfContextEndsTheConnection(t *testing.T) {
	t.Run("with queries and unread lines", func(t *testing.T) {
		leaked := probe.Baseline()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		db := newStore(t)
		db.holdRollback()
		s := serve(t, ctx, config(db), nil)
		for i := range workers {
			s.client.send(fmt.Sprintf("w%d shelf %d", i, i))
		}
		db.started(workers)
		flood := slices.Repeat([]string{"x shelf"}, 2000)
		s.client.send(flood...)
		cancel()
		checkEnd(t, s, db, workers, "the context of ServeConn has ended")
		checkEnded(t, s)
		if gs := leaked(t, 300*time.Millisecond); len(gs) > 0 {
			probe.Errorf(t, "scope.leak", "%d goroutines are left after ServeConn returned at the end of its context: %s.", len(gs), probe.Where(gs))
		}
	})
	t.Run("idle", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		db := newStore(t)
		db.open()
		s := serve(t, ctx, config(db), nil)
		s.client.send("a shelf")
		s.client.line("scope.no_reply")
		cancel()
		s.over("scope.ctx_ignored", "its context has ended and the scanner is silent")
		checkEnded(t, s)
	})
	t.Run("with a cause", func(t *testing.T) {
		byDeadline, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer stop()
		withCause, cancel := context.WithCancelCause(t.Context())
		cancelled := time.AfterFunc(20*time.Millisecond, func() { cancel(errors.New("terminated signal received")) })
		defer cancelled.Stop()
		for name, ctx := range map[string]context.Context{"by its deadline": byDeadline, "with a cause": withCause} {
			s := serve(t, ctx, config(newStore(t)), nil)
			s.over("scope.ctx_ignored", "its context has ended "+name)
			if s.err != nil {
				probe.Errorf(t, "scope.error", "the context ended %s, and ServeConn returned %q, not nil.", name, s.err)
			}
		}
	})
	t.Run("with a reply that nobody reads", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		db := newStore(t)
		db.open()
		db.reply = strings.Repeat("shelf ", 1<<20)
		var writes atomic.Int64
		s := serve(t, ctx, config(db), func(conn *net.TCPConn) net.Conn { return counted{small(conn), &writes} })
		s.client.SetReadBuffer(4 << 10)
		s.client.send("b big")
		if !patience.Eventually(func() bool { return writes.Load() > 0 }) {
			probe.Fatalf(t, "scope.no_reply", "a line was handled and no reply to it was sent.")
		}
		probe.Poll(5*time.Millisecond, s.isOver) // a reply of 6 MB fills the connection meanwhile
		cancel()
		s.over("scope.ctx_ignored", "its context has ended, and a reply that nobody reads is under way, with a WriteTimeout of a minute")
		if s.err != nil {
			probe.Errorf(t, "scope.error", "ServeConn returned %q at the end of its context, not nil.", s.err)
		}
	})
	t.Run("before it began", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s := serve(t, ctx, config(newStore(t)), nil)
		s.over("scope.ctx_ignored", "its context had ended before the call")
		checkEnded(t, s)
	})
}

// counted is a connection that counts the writes that were begun.
type counted struct {
	net.Conn
	writes *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// checkEnded checks what a connection leaves behind when its context ended.
func checkEnded(t *testing.T, s *session) {
	t.Helper()
	if s.err != nil {
		probe.Errorf(t, "scope.error", "ServeConn returned %q at the end of its context, not nil.", s.err)
	}
	s.client.SetReadDeadline(time.Now().Add(patience.Limit()))
	_, err := io.Copy(io.Discard, s.client.r)
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		patience.InVain()
		probe.Errorf(t, "scope.left_open", "ServeConn has returned, and the scanner's connection is still open.")
	}
}

func TestReview_HandleGetsAContextOfItsConnection(t *testing.T) {
	type key struct{}
	seen := make(chan any, 1)
	srv := scanner.New(scanner.Config{Workers: 1, Handle: func(ctx context.Context, text string) (string, error) {
		seen <- ctx.Value(key{})
		return text, nil
	}})
	s := connect(t, context.WithValue(t.Context(), key{}, "trace 7"), srv, nil)
	s.client.send("a shelf")
	s.client.line("scope.no_reply")
	if v := <-seen; v != "trace 7" {
		probe.Errorf(t, "scope.detached", "the context of ServeConn carries the value %q, and that of Handle %v: it is not derived from it.", "trace 7", v)
	}
}

func TestReview_FailureIsAnsweredWithoutItsReason(t *testing.T) {
	srv := scanner.New(scanner.Config{Handle: func(ctx context.Context, text string) (string, error) {
		return "", errors.New("pq: password authentication failed for user dispatchd")
	}})
	s := connect(t, t.Context(), srv, nil)
	s.client.send("a shelf")
	if got := s.client.line("scope.no_reply"); got != "a failed" {
		probe.Errorf(t, "scope.reply", "a line whose Handle failed was answered with %q instead of %q.", got, "a failed")
	}
	s.client.Close()
	s.over("scope.stuck", "its scanner has hung up and has no query left")
	if s.err != nil {
		probe.Errorf(t, "scope.error", "ServeConn returned %q after its scanner had hung up, not nil.", s.err)
	}
}

func TestReview_HalfALineWaitsForItsOtherHalf(t *testing.T) {
	db := newStore(t)
	db.open()
	var timeouts atomic.Int64
	s := serve(t, t.Context(), config(db), func(conn *net.TCPConn) net.Conn {
		return hasty{conn, &timeouts}
	})
	for i, half := range []string{"a she", "lf 1\nb sh", "elf 2\n"} {
		if _, err := io.WriteString(s.client, half); err != nil {
			probe.Fatalf(t, "scope.half_line", "part %d of two lines was not taken: %v.", i+1, err)
		}
		time.Sleep(40 * time.Millisecond) // a pause of minutes for a read deadline
	}
	probe.Note(t, "read deadlines that passed in the pauses", timeouts.Load(), "timeouts")
	for _, want := range []string{"a ok shelf 1", "b ok shelf 2"} {
		if got := s.client.line("scope.half_line"); got != want {
			probe.Fatalf(t, "scope.half_line", "a line that came in halves, with a pause between, got the reply %q instead of %q.", got, want)
		}
	}
	if n := db.begun.Load(); !probe.Equal(t, "queries for two lines in halves", n, 2, "queries") {
		probe.Errorf(t, "scope.half_line", "two lines came in halves, and %d queries were begun: %q.", n, db.texts)
	}
}

// hasty is a connection whose read deadlines pass ten thousand times as fast.
type hasty struct {
	*net.TCPConn
	timeouts *atomic.Int64
}

func (c hasty) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		c.timeouts.Add(1)
	}
	return n, err
}

func (c hasty) SetReadDeadline(d time.Time) error {
	if left := time.Until(d); !d.IsZero() && left > 0 {
		d = time.Now().Add(left / 10_000)
	}
	return c.TCPConn.SetReadDeadline(d)
}

func (c hasty) SetDeadline(d time.Time) error {
	return errors.Join(c.SetReadDeadline(d), c.SetWriteDeadline(d))
}

func TestReview_LineWithoutItsNewlineIsNotHandled(t *testing.T) {
	for name, hangUp := range map[string]func(*client){
		"hang up":    func(c *client) { c.Close() },
		"end of ctx": nil,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			db := newStore(t)
			db.open()
			s := serve(t, ctx, config(db), nil)
			s.client.send("a shelf 1")
			s.client.line("scope.no_reply")
			if _, err := io.WriteString(s.client, "b shelf 12"); err != nil { // of 1234
				t.Fatal(err)
			}
			if hangUp == nil {
				time.Sleep(5 * time.Millisecond)
				hangUp = func(*client) { cancel() }
			}
			hangUp(s.client)
			s.over("scope.stuck", name+", and it has no query left")
			probe.Poll(5*time.Millisecond, func() bool { return db.begun.Load() > 1 })
			db.mu.Lock()
			defer db.mu.Unlock()
			if len(db.texts) != 1 {
				probe.Errorf(t, "scope.cut_line", "the connection ended inside the line %q, and Handle was given %q: nobody knows what the rest would have been.",
					"b shelf 1234", db.texts[len(db.texts)-1])
			}
		})
	}
}

func TestReview_RepliesComeWhole(t *testing.T) {
	const lines, size = 16, 16 << 10
	db := newStore(t)
	srv := scanner.New(scanner.Config{Workers: lines, WriteTimeout: time.Minute, Handle: func(ctx context.Context, text string) (string, error) {
		if _, err := db.query(ctx, text); err != nil {
			return "", err
		}
		return strings.Repeat(text, size), nil
	}})
	s := connect(t, t.Context(), srv, func(conn *net.TCPConn) net.Conn { return leisurely{conn} })
	for i := range lines {
		c := string(rune('a' + i))
		s.client.send(c + " " + c)
	}
	db.started(lines)
	db.open() // now all of them have a reply at once
	for i := range lines {
		got := s.client.line("scope.interleaved")
		tag, reply, _ := strings.Cut(got, " ")
		if want := "ok " + strings.Repeat(tag, size); len(tag) != 1 || reply != want {
			probe.Fatalf(t, "scope.interleaved", "line %d of %d replies sent at once is not one whole reply: it has %d bytes and begins with %.24q.",
				i+1, lines, len(got), got)
		}
	}
}

// leisurely is a connection that lets others go first after each write.
type leisurely struct{ *net.TCPConn }

func (c leisurely) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	time.Sleep(time.Millisecond)
	return n, err
}

func TestReview_StalledScannerIsCutOff(t *testing.T) {
	leaked := probe.Baseline()
	db, big := newStore(t), newStore(t)
	big.open()
	big.reply = strings.Repeat("shelf ", 1<<20)
	srv := scanner.New(scanner.Config{Workers: workers, WriteTimeout: 250 * time.Millisecond, Handle: func(ctx context.Context, text string) (string, error) {
		if text == "big" || text == "more" {
			return big.query(ctx, text)
		}
		return db.query(ctx, text)
	}})
	s := connect(t, t.Context(), srv, small)
	s.client.SetReadBuffer(4 << 10)
	s.client.send("a shelf")
	db.started(1)
	s.client.send("b big")

	// It sends on and on, and reads nothing. Each line waits for the one before,
	// unless the server has stopped reading: nothing is rejected.
	go func() {
		for i := 0; ; i++ {
			probe.Poll(100*time.Millisecond, func() bool { return big.answered.Load() > int64(i) || s.isOver() })
			s.client.SetWriteDeadline(time.Now().Add(patience.Limit()))
			if _, err := fmt.Fprintf(s.client, "m%d more\n", i); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	limit := patience.Limit()
	select {
	case <-s.done:
	case <-time.After(limit):
		patience.InVain()
		probe.Fatalf(t, "scope.uncut", "a scanner that accepts no reply is not cut off after %v, with a WriteTimeout of 250ms.", limit)
	}
	if n := db.cancelled.Load(); !probe.Equal(t, "queries cancelled when a stalled scanner is cut off", n, 1, "queries") {
		probe.Errorf(t, "scope.survives", "a stalled scanner was cut off, and %d of its 1 query was cancelled.", n)
	}
	if s.err == nil {
		probe.Errorf(t, "scope.error", "ServeConn returned nil after it had cut off a stalled scanner.")
	}
	s.client.Close()
	if gs := leaked(t, 300*time.Millisecond); len(gs) > 0 {
		probe.Errorf(t, "scope.leak", "%d goroutines are left after a stalled scanner was cut off: %s.", len(gs), probe.Where(gs))
	}
}

func TestReview_UnreadRepliesHoldNoWorker(t *testing.T) {
	for _, n := range []int{workers, 1} {
		t.Run(fmt.Sprint("workers: ", n), func(t *testing.T) { unreadReplies(t, n) })
	}
}

func unreadReplies(t *testing.T, workers int) {
	db := newStore(t)
	db.open()
	db.reply = strings.Repeat("shelf ", 1<<20)
	cfg := config(db)
	cfg.Workers = workers
	srv := scanner.New(cfg)
	stalled := connect(t, t.Context(), srv, small)
	stalled.client.SetReadBuffer(4 << 10)
	stalled.client.send("b big")
	if !patience.Eventually(func() bool { return db.answered.Load() == 1 }) {
		probe.Fatalf(t, "scope.no_reply", "%d of 1 line has reached Handle.", db.answered.Load())
	}

	// It reads nothing and sends on, line after line, as long as each reaches
	// Handle. A server may stop reading: it may not run out of workers.
	sent, goesOn := 0, true
	for sent < 300 && goesOn {
		if _, err := fmt.Fprintf(stalled.client, "s%d small\n", sent); err != nil {
			break
		}
		sent++
		goesOn = probe.Poll(200*time.Millisecond, func() bool { return db.answered.Load() == int64(1+sent) })
	}
	probe.Note(t, fmt.Sprint("short lines sent by a scanner that reads nothing, workers: ", workers), sent, "lines")
	sound := connect(t, t.Context(), srv, nil)
	if !patience.Eventually(func() bool {
		sound.client.send("x small")
		return sound.client.line("scope.stalled") == "x ok small"
	}) {
		probe.Errorf(t, "scope.stalled", "a scanner that reads nothing had sent %d short lines, and another one was told busy for good: replies that wait hold all %d workers.", sent, workers)
	}
	stalled.client.Close()
	stalled.over("scope.stuck", "its scanner has hung up and has no query left")
}

func TestReview_OneBrokenConnectionLeavesTheOthersAlone(t *testing.T) {
	db, big := newStore(t), newStore(t)
	big.open()
	big.reply = strings.Repeat("shelf ", 1<<20)
	srv := scanner.New(scanner.Config{Workers: workers, WriteTimeout: 10 * time.Minute, Handle: func(ctx context.Context, text string) (string, error) {
		if text == "big" {
			return big.query(ctx, text)
		}
		return db.query(ctx, text)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ln := &firstIsPoor{Listener: listen(t), gone: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()

	stalled := dial(t, ln.Addr())
	stalled.SetReadBuffer(4 << 10)
	stalled.send("a shelf")
	db.started(1)
	sound := dial(t, ln.Addr())
	sound.send("b shelf 2")
	db.started(2)
	stalled.send("c big")
	select {
	case <-ln.gone:
	case <-time.After(patience.Limit()):
		patience.InVain()
		probe.Fatalf(t, "scope.uncut", "Serve has not cut off a scanner that does not accept a reply within WriteTimeout.")
	}
	if !patience.Eventually(func() bool { return db.cancelled.Load() > 0 }) {
		probe.Errorf(t, "scope.survives", "a stalled scanner was cut off by Serve, and its query was not cancelled.")
	}
	probe.Poll(20*time.Millisecond, func() bool { return db.cancelled.Load() > 1 })
	if n := db.cancelled.Load(); !probe.AtMost(t, "queries cancelled when one of two scanners is cut off", n, 1, "queries") {
		probe.Fatalf(t, "scope.other_cancelled", "Serve cut off one scanner that did not read, and cancelled the query of another one too.")
	}
	select {
	case err := <-done:
		probe.Fatalf(t, "scope.other_cancelled", "Serve cut off one scanner that did not read, and then returned (%v): no other is served any more.", err)
	default:
	}
	db.open()
	if got := sound.line("scope.other_cancelled"); got != "b ok shelf 2" {
		probe.Errorf(t, "scope.other_cancelled", "Serve cut off one scanner that did not read, and another got %q instead of %q.", got, "b ok shelf 2")
	}
	late := dial(t, ln.Addr())
	late.send("d shelf 3")
	if got := late.line("scope.other_cancelled"); got != "d ok shelf 3" {
		probe.Errorf(t, "scope.other_cancelled", "Serve cut off one scanner that did not read, and one that came later got %q instead of %q.", got, "d ok shelf 3")
	}
}

// firstIsPoor is a listener whose first connection has little room, and whose
// write deadlines there pass ten thousand times as fast.
type firstIsPoor struct {
	net.Listener
	accepted atomic.Int64
	gone     chan struct{} // closed when that connection is
}

func (l *firstIsPoor) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil || l.accepted.Add(1) > 1 {
		return conn, err
	}
	small(conn.(*net.TCPConn))
	return poor{conn, sync.OnceFunc(func() { close(l.gone) })}, nil
}

type poor struct {
	net.Conn
	gone func()
}

func (c poor) SetWriteDeadline(d time.Time) error {
	if left := time.Until(d); !d.IsZero() && left > 0 {
		d = time.Now().Add(left / 10_000)
	}
	return c.Conn.SetWriteDeadline(d)
}

func (c poor) SetDeadline(d time.Time) error {
	return errors.Join(c.SetReadDeadline(d), c.SetWriteDeadline(d))
}

func (c poor) Close() error {
	c.gone()
	return c.Conn.Close()
}

func TestReview_ServeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	db := newStore(t)
	db.holdRollback()
	ln := listen(t)
	done := make(chan error, 1)
	srv := scanner.New(scanner.Config{Workers: 2, Handle: db.query})
	go func() { done <- srv.Serve(ctx, ln) }()
	dial(t, ln.Addr()).send("a shelf 1")
	dial(t, ln.Addr()).send("b shelf 2")
	db.started(2)
	probe.Poll(20*time.Millisecond, func() bool { return db.cancelled.Load() > 0 })
	if n := db.cancelled.Load(); n > 0 {
		probe.Fatalf(t, "scope.born_dead", "%d of 2 queries were cancelled although their scanners wait for them.", n)
	}

	cancel()
	if !patience.Eventually(func() bool { return db.cancelled.Load() == 2 }) {
		probe.Errorf(t, "scope.ctx_ignored", "the context of Serve has ended: %d of 2 queries were cancelled.", db.cancelled.Load())
	}
	select {
	case err := <-done:
		probe.Errorf(t, "scope.serve_early", "Serve returned %v with %d calls of Handle still at work.", err, db.inside.Load())
		return
	case <-time.After(20 * time.Millisecond):
	}
	if conn, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		conn.Close()
		probe.Errorf(t, "scope.left_open", "Serve's context has ended, and it still lets scanners connect.")
	}
	db.rollback()
	if err := wait(t, done, "its context has ended and all queries have returned"); err != nil {
		probe.Errorf(t, "scope.error", "Serve returned %q at the end of its context, not nil.", err)
	}
}

// A scanner may be let in at the very moment in which the context ends.
func TestReview_LastOneLetInIsHungUpOn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ours, theirs := net.Pipe()
	defer ours.Close()
	done := make(chan error, 1)
	go func() {
		done <- scanner.New(scanner.Config{Handle: newStore(t).query}).Serve(ctx, &lastOne{Listener: listen(t), conn: theirs, end: cancel})
	}()
	if err := wait(t, done, "its context has ended"); err != nil {
		probe.Errorf(t, "scope.error", "Serve returned %q at the end of its context, not nil.", err)
	}
	ours.SetReadDeadline(time.Now().Add(patience.Limit()))
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		probe.Errorf(t, "scope.left_open", "a scanner was let in just as the context ended, Serve has returned, and its connection is open still (%v).", err)
	}
}

// lastOne is a listener whose context ends while Accept returns.
type lastOne struct {
	net.Listener
	conn net.Conn
	end  func()
}

func (l *lastOne) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		l.end()
		return c, nil
	}
	return l.Listener.Accept()
}

func TestReview_ServeReturnsTheListenersError(t *testing.T) {
	ln := listen(t)
	done := make(chan error, 1)
	go func() {
		done <- scanner.New(scanner.Config{Handle: newStore(t).query}).Serve(t.Context(), ln)
	}()
	ln.Close()
	if err := wait(t, done, "its listener is broken"); !errors.Is(err, net.ErrClosed) {
		probe.Errorf(t, "scope.error", "Serve returned %v for a listener that gives %q.", err, net.ErrClosed)
	}
}

func TestReview_WorkersBelowOneCountAsOne(t *testing.T) {
	db := newStore(t)
	s := serve(t, t.Context(), scanner.Config{Handle: db.query}, nil)
	s.client.send("a shelf", "b shelf")
	db.started(1)
	if got := s.client.line("scope.config"); got != "b busy" {
		probe.Errorf(t, "scope.config", "with Workers 0, which counts as 1, the second of two lines got %q.", got)
	}
	db.open()
	if got := s.client.line("scope.config"); got != "a ok shelf" {
		probe.Errorf(t, "scope.config", "with Workers 0, which counts as 1, the first of two lines got %q.", got)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// wait returns what Serve returned.
func wait(t *testing.T, done <-chan error, situation string) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience.Limit()):
		patience.InVain()
		probe.Fatalf(t, "scope.stuck", "Serve was not back in time; %s.", situation)
		return nil
	}
}
