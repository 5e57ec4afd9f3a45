// finding: scope.cut_line
//
// Keeps the bufio.Scanner, which gives out what came after the last newline as a
// line of its own: a query for parcel 12 where the courier had sent 1234.

// Package scanner talks to the hand scanners of the depots. A scanner keeps
// one TCP connection open for a whole shift and sends a line for each parcel
// that it sees; every line is a query to the database.
package scanner

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"
)

// Config sets what a server does and how much of it at once.
type Config struct {
	// Handle answers the text of one line with one line. It must return soon
	// after its context ends. Several goroutines call it at once.
	Handle func(ctx context.Context, text string) (string, error)

	Workers int // calls of Handle at once, all scanners together; below 1 counts as 1

	// WriteTimeout is how long a scanner may take to accept a reply; longer,
	// and it is cut off. 0 means ten seconds.
	WriteTimeout time.Duration
}

// Server answers scanners. Make one with New; it may serve many connections.
type Server struct {
	handle       func(ctx context.Context, text string) (string, error)
	slots        chan struct{} // a token for each worker that is busy
	writeTimeout time.Duration
}

// New makes a server that is ready to use.
func New(cfg Config) *Server {
	s := &Server{
		handle:       cfg.Handle,
		slots:        make(chan struct{}, max(cfg.Workers, 1)),
		writeTimeout: cfg.WriteTimeout,
	}
	if s.writeTimeout <= 0 {
		s.writeTimeout = 10 * time.Second
	}
	return s
}

// Serve accepts scanners from ln until ctx ends, which ends their connections
// too. It closes ln, and returns when every connection is done: nil after the
// end of ctx, otherwise the error of ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel() // a broken listener ends the connections too
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	defer ln.Close()
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("scanner: accept: %w", err)
		}
		conns.Go(func() {
			if err := s.ServeConn(ctx, conn); err != nil {
				slog.Warn("scanner connection broke", "addr", conn.RemoteAddr(), "err", err)
			}
		})
	}
}

// ServeConn answers one scanner. A line is a tag, a blank and a text; it counts
// when its newline has arrived, however long that takes. The reply is one line
// that begins with the same tag: "TAG ok REPLY", "TAG failed", or at once
// "TAG busy" where all workers are. Replies come whole, in any order.
//
// The connection is over when the scanner hangs up, when it does not accept
// a reply within WriteTimeout, or when ctx ends. What Handle still does for
// this scanner is then cancelled, through a context that is derived from ctx.
// ServeConn closes conn, and returns when every Handle it called has returned:
// nil when the scanner hung up or ctx ended, an error when a reply was not
// accepted in time. For a connection that broke otherwise, as by a reset,
// either is right: the caller only logs it.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) error {
	scope, end := context.WithCancelCause(ctx)
	// Closing is what wakes a read or a write that waits.
	defer context.AfterFunc(scope, func() { conn.Close() })()
	defer conn.Close()

	c := &session{Server: s, conn: conn, end: end, unanswered: make(chan struct{}, cap(s.slots)+backlog)}
	end(c.read(scope)) // only the first end counts: a failed write may have come before
	c.work.Wait()
	if err := context.Cause(scope); ctx.Err() == nil && !errors.Is(err, errOver) {
		return err
	}
	return nil
}

// backlog is how many replies may wait for a slow scanner before its next
// line waits too.
const backlog = 16

// errOver is why the context of a session ends that ended well.
var errOver = errors.New("scanner: hung up")

// session is one connection.
type session struct {
	*Server
	conn       net.Conn
	end        context.CancelCauseFunc
	work       sync.WaitGroup
	unanswered chan struct{} // a token for each line that has no reply yet
	writing    sync.Mutex
}

// read takes lines until there are no more, and says why.
func (c *session) read(ctx context.Context) error {
	lines := bufio.NewScanner(c.conn)
	for {
		if !lines.Scan() {
			if err := lines.Err(); err != nil {
				return fmt.Errorf("scanner: read: %w", err)
			}
			return errOver
		}
		line := lines.Text()
		select {
		case c.unanswered <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		tag, text, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		select {
		case c.slots <- struct{}{}:
			c.work.Go(func() { c.answer(ctx, tag, text) })
		default:
			c.reply(tag + " busy")
		}
	}
}

// answer does the work of one line. The worker is free again before the reply
// is sent: a scanner that does not read must cost the others nothing.
func (c *session) answer(ctx context.Context, tag, text string) {
	answer, err := c.handle(ctx, text)
	<-c.slots
	if err != nil {
		c.reply(tag + " failed")
		return
	}
	c.reply(tag + " ok " + answer)
}

// reply sends one line, while nobody else sends.
func (c *session) reply(line string) {
	defer func() { <-c.unanswered }()
	c.writing.Lock()
	defer c.writing.Unlock()
	c.conn.SetWriteDeadline(time.Now().Add(c.writeTimeout))
	if _, err := io.WriteString(c.conn, line+"\n"); err != nil {
		c.end(fmt.Errorf("scanner: write: %w", err))
	}
}
