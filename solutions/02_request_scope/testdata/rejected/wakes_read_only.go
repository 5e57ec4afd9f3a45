// finding: scope.ctx_ignored
//
// Moves the read deadline into the past when the scope ends, which wakes the reader,
// and closes after the waiting. A reply that nobody reads holds up the shutdown.

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
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	var conns sync.WaitGroup
	defer conns.Wait()
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
	c := &session{Server: s, conn: conn}
	c.ctx, c.end = context.WithCancelCause(ctx)
	defer conn.Close()
	// A read does not look at contexts; a deadline in the past wakes it.
	defer context.AfterFunc(c.ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()

	c.end(c.read())
	c.calls.Wait()

	if ctx.Err() != nil {
		return nil
	}
	if err := context.Cause(c.ctx); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// session is one connection and what is done for it.
type session struct {
	*Server
	conn  net.Conn
	ctx   context.Context
	end   context.CancelCauseFunc
	calls sync.WaitGroup
	mu    sync.Mutex // for writing
}

// read takes lines until the connection is over, and says why it is.
func (c *session) read() error {
	lines := bufio.NewReader(c.conn)
	for {
		line, err := lines.ReadString('\n')
		if err != nil { // a piece without its newline is no line
			return fmt.Errorf("scanner: read: %w", err)
		}
		tag, text, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		select {
		case c.slots <- struct{}{}:
			c.calls.Go(func() { c.answer(tag, text) })
		default:
			c.reply(tag + " busy")
		}
	}
}

// answer does the work of one line. Its worker is free before the scanner reads.
func (c *session) answer(tag, text string) {
	answer, err := c.handle(c.ctx, text)
	<-c.slots
	if err != nil {
		c.reply(tag + " failed")
		return
	}
	c.reply(tag + " ok " + answer)
}

// reply sends one line. A scanner that does not take it is cut off.
func (c *session) reply(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return
	}
	c.conn.SetWriteDeadline(time.Now().Add(c.writeTimeout))
	if _, err := io.WriteString(c.conn, line+"\n"); err != nil {
		c.end(fmt.Errorf("scanner: write: %w", err))
	}
}
