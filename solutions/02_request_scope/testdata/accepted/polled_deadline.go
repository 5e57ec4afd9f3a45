// Wakes up ten times a second to look at its context. That is sound as long as the
// half line is kept outside the call that timed out, and something wakes a write too.

// Package scanner talks to the hand scanners of the depots. A scanner keeps
// one TCP connection open for a whole shift and sends a line for each parcel
// that it sees; every line is a query to the database.
package scanner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
	scope, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(scope, func() { conn.Close() })() // for a reply that nobody reads
	defer conn.Close()

	var work sync.WaitGroup
	var writing sync.Mutex
	var broken error
	reply := func(line string) {
		writing.Lock()
		defer writing.Unlock()
		if scope.Err() != nil {
			return
		}
		conn.SetWriteDeadline(time.Now().Add(s.writeTimeout))
		if _, err := conn.Write([]byte(line + "\n")); err != nil && scope.Err() == nil {
			broken = err
			cancel()
		}
	}

	var rest []byte // what has come since the last newline outlives a time-out
	var end error
	buf := make([]byte, 4096)
	for scope.Err() == nil && end == nil {
		conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := conn.Read(buf)
		rest = append(rest, buf[:n]...)
		for {
			line, more, whole := bytes.Cut(rest, []byte("\n"))
			if !whole {
				break
			}
			rest = more
			tag, text, _ := strings.Cut(string(line), " ")
			select {
			case s.slots <- struct{}{}:
				work.Go(func() {
					answer, err := s.handle(scope, text)
					<-s.slots
					if err != nil {
						reply(tag + " failed")
						return
					}
					reply(tag + " ok " + answer)
				})
			default:
				reply(tag + " busy")
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			end = err
		}
	}
	over := ctx.Err() != nil || errors.Is(end, io.EOF)
	cancel()
	work.Wait()
	switch {
	case broken != nil:
		return broken
	case over:
		return nil
	}
	return end
}
