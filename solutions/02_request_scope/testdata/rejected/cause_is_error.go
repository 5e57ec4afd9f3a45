// finding: scope.error
//
// The context's cause is the error: a deadline, or a signal since Go 1.26, makes one of an end that is none.

// Package scanner talks to the hand scanners of the depots. A scanner keeps
// one TCP connection open for a whole shift and sends a line for each parcel
// that it sees; every line is a query to the database.
package scanner

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
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
	var conns sync.WaitGroup
	defer conns.Wait()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	defer ln.Close()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("scanner: accept: %w", err)
		}
		conns.Go(func() {
			if err := s.ServeConn(ctx, conn); err != nil {
				slog.Warn("scanner connection broke", "addr", conn.RemoteAddr(), "err", err)
			}
		})
	}
}

// errHungUp ends a scope without being an error to the caller.
var errHungUp = errors.New("scanner: hung up")

// errStalled is what ServeConn returns of a scanner that does not read.
var errStalled = errors.New("scanner: reply not accepted in time")

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
	l := &link{Server: s, conn: conn, scope: scope, end: end}
	closed := make(chan struct{})
	context.AfterFunc(scope, func() {
		defer close(closed)
		conn.Close()
	})
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			end(errHungUp) // unless it has ended for another reason
			break
		}
		tag, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		select {
		case s.slots <- struct{}{}:
			l.work.Go(func() { l.answer(tag, text) })
		default:
			l.reply(tag + " busy")
		}
	}
	<-closed
	l.work.Wait()
	err := context.Cause(scope)
	if errors.Is(err, errHungUp) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// link is one connection.
type link struct {
	*Server
	conn  net.Conn
	scope context.Context
	end   context.CancelCauseFunc
	work  sync.WaitGroup

	mu sync.Mutex // guards the writing
}

// answer does the work of one line and gives its worker back.
func (l *link) answer(tag, text string) {
	answer, err := l.handle(l.scope, text)
	<-l.slots // before the reply, which the scanner may be slow to read
	if err != nil {
		l.reply(tag + " failed")
		return
	}
	l.reply(tag + " ok " + answer)
}

// reply sends one line. A scanner that does not take it is cut off.
func (l *link) reply(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.scope.Err() != nil {
		return
	}
	l.conn.SetWriteDeadline(time.Now().Add(l.writeTimeout))
	_, err := fmt.Fprintln(l.conn, line)
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		l.end(fmt.Errorf("%w: %w", errStalled, err))
	default:
		l.end(errHungUp)
	}
}
