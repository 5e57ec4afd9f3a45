// A goroutine reads, another writes, a loop between them selects. Nothing is shared
// but channels, and every send has ctx beside it.

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
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) (err error) {
	parent := ctx
	ctx, cancel := context.WithCancel(ctx)
	lines, replies := make(chan string), make(chan string)
	var reader, writer, work sync.WaitGroup
	defer func() {
		cancel()
		conn.Close()
		reader.Wait()
		work.Wait()
		writer.Wait()
		if parent.Err() != nil {
			err = nil
		}
	}()

	broken := make(chan error, 2)
	reader.Go(func() { broken <- readLines(ctx, conn, lines) })
	writer.Go(func() { broken <- s.writeReplies(ctx, conn, replies) })
	send := func(reply string) {
		select {
		case replies <- reply:
		case <-ctx.Done():
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-broken:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case line := <-lines:
			tag, text, _ := strings.Cut(line, " ")
			select {
			case s.slots <- struct{}{}:
				work.Go(func() {
					answer, err := s.handle(ctx, text)
					<-s.slots
					if err != nil {
						send(tag + " failed")
					} else {
						send(tag + " ok " + answer)
					}
				})
			default:
				work.Go(func() { send(tag + " busy") })
			}
		}
	}
}

// readLines hands on each line that has its newline.
func readLines(ctx context.Context, conn net.Conn, lines chan<- string) error {
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		select {
		case lines <- strings.TrimSpace(line):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// writeReplies is the only one that writes.
func (s *Server) writeReplies(ctx context.Context, conn net.Conn, replies <-chan string) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case reply := <-replies:
			conn.SetWriteDeadline(time.Now().Add(s.writeTimeout))
			if _, err := fmt.Fprintln(conn, reply); err != nil {
				return err
			}
		}
	}
}
