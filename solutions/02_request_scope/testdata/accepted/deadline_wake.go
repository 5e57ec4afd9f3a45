// A deadline long ago wakes a read and a write alike; semaphores from x/sync count
// workers and replies. A bufio.Scanner is sound with a split function of its own.

// Package scanner talks to the hand scanners of the depots. A scanner keeps
// one TCP connection open for a whole shift and sends a line for each parcel
// that it sees; every line is a query to the database.
package scanner

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"
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
	workers      *semaphore.Weighted
	unsent       int64 // replies of one connection that may be in the making or unsent
	writeTimeout time.Duration
}

// New makes a server that is ready to use.
func New(cfg Config) *Server {
	n := int64(max(cfg.Workers, 1))
	s := &Server{
		handle:       cfg.Handle,
		workers:      semaphore.NewWeighted(n),
		unsent:       n + 64, // so that a full one means that writing is stuck, not Handle
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
	var conns sync.WaitGroup
	defer conns.Wait()
	closeOnce := sync.OnceFunc(func() { ln.Close() })
	defer closeOnce()
	defer context.AfterFunc(ctx, closeOnce)()
	for {
		conn, err := ln.Accept()
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("scanner: accept: %w", err)
		}
		// A connection that came as ctx ended is closed by ServeConn at once.
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
	scope, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &connection{
		Server: s, Conn: conn, scope: scope, cancel: cancel,
		turn:    semaphore.NewWeighted(1),
		replies: semaphore.NewWeighted(s.unsent),
	}
	woken := make(chan struct{})
	context.AfterFunc(scope, func() {
		defer close(woken)
		conn.SetDeadline(time.Unix(1, 0)) // long ago: nobody waits for it any more
	})
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxLine)
	lines.Split(terminated)
	for lines.Scan() && c.line(lines.Text()) {
	}
	if err := lines.Err(); err != nil {
		c.over(fmt.Errorf("scanner: read: %w", err))
	} else {
		c.over(nil)
	}
	<-woken
	conn.Close()
	c.answers.Wait()
	if why := c.why.Load(); why != nil {
		return *why
	}
	return nil
}

// maxLine is more than any scanner sends. A longer line is an error.
const maxLine = 1 << 20

// connection is one scanner's.
type connection struct {
	*Server
	net.Conn
	scope   context.Context
	cancel  context.CancelFunc
	turn    *semaphore.Weighted // to write
	replies *semaphore.Weighted
	answers sync.WaitGroup
	why     atomic.Pointer[error] // what ended it, if that was not ctx
}

// over ends the connection. The first reason counts, and ctx is one.
func (c *connection) over(why error) {
	if c.scope.Err() == nil {
		c.why.CompareAndSwap(nil, &why)
	}
	c.cancel()
}

// line begins to answer one line. It reports whether more may follow.
func (c *connection) line(line string) bool {
	if c.replies.Acquire(c.scope, 1) != nil || c.scope.Err() != nil {
		return false
	}
	tag, text, _ := strings.Cut(line, " ")
	if !c.workers.TryAcquire(1) {
		c.reply(tag + " busy")
		return true
	}
	c.answers.Go(func() {
		answer, err := c.handle(c.scope, text)
		c.workers.Release(1)
		if err != nil {
			c.reply(tag + " failed")
		} else {
			c.reply(tag + " ok " + answer)
		}
	})
	return true
}

// reply sends one line when it is its turn. A scanner that does not take it is
// cut off.
func (c *connection) reply(line string) {
	defer c.replies.Release(1)
	if c.turn.Acquire(c.scope, 1) != nil {
		return
	}
	defer c.turn.Release(1)
	err := c.SetWriteDeadline(time.Now().Add(c.writeTimeout))
	if c.scope.Err() != nil {
		return // looked at after the deadline is set, so that the wake-up is not undone
	}
	if err == nil {
		_, err = fmt.Fprintf(c.Conn, "%s\n", line)
	}
	switch {
	case err == nil:
	case errors.Is(err, syscall.EPIPE): // the scanner had hung up
		c.over(nil)
	default:
		c.over(fmt.Errorf("scanner: write: %w", err))
	}
}

// terminated splits off lines as bufio.ScanLines does, but leaves out what has
// no newline at the end of input.
func terminated(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, bytes.TrimSuffix(data[:i], []byte("\r")), nil
	}
	if atEOF {
		return len(data), nil, nil
	}
	return 0, nil, nil
}
