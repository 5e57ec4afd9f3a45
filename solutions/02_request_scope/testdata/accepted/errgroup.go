// An errgroup is the scope of a connection: the first error, the end of input too,
// cancels the rest, and one member closes the connection then.

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

	"golang.org/x/sync/errgroup"
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
	slots        *semaphore.Weighted
	writeTimeout time.Duration
}

// New makes a server that is ready to use.
func New(cfg Config) *Server {
	s := &Server{
		handle:       cfg.Handle,
		slots:        semaphore.NewWeighted(int64(max(cfg.Workers, 1))),
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
	defer conn.Close()
	g, scope := errgroup.WithContext(ctx)
	var writing sync.Mutex
	reply := func(line string) error {
		writing.Lock()
		defer writing.Unlock()
		conn.SetWriteDeadline(time.Now().Add(s.writeTimeout))
		_, err := io.WriteString(conn, line+"\n")
		return err
	}
	g.Go(func() error { // the group's first error closes the connection
		<-scope.Done()
		return conn.Close()
	})
	g.Go(func() error {
		lines := bufio.NewScanner(conn)
		lines.Split(wholeLines)
		for lines.Scan() {
			tag, text, _ := strings.Cut(lines.Text(), " ")
			if !s.slots.TryAcquire(1) {
				if err := reply(tag + " busy"); err != nil {
					return err
				}
				continue
			}
			g.Go(func() error {
				answer, err := s.handle(scope, text)
				s.slots.Release(1)
				if err != nil {
					return reply(tag + " failed")
				}
				return reply(tag + " ok " + answer)
			})
		}
		if err := lines.Err(); err != nil {
			return err
		}
		return io.EOF
	})
	if err := g.Wait(); ctx.Err() == nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("scanner: %w", err)
	}
	return nil
}

// wholeLines is bufio.ScanLines without the last piece that has no newline.
func wholeLines(data []byte, atEOF bool) (int, []byte, error) {
	if atEOF && !strings.Contains(string(data), "\n") {
		return len(data), nil, nil
	}
	return bufio.ScanLines(data, atEOF)
}
