// A mutex and a condition variable instead of channels: replies wait in an outbox,
// workers are a counter, and a watcher moves the read deadline into the past.

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
	workers      int
	mu           sync.Mutex
	busy         int
	writeTimeout time.Duration
}

// New makes a server that is ready to use.
func New(cfg Config) *Server {
	s := &Server{
		handle:       cfg.Handle,
		workers:      max(cfg.Workers, 1),
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
func (s *Server) ServeConn(parent context.Context, conn net.Conn) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		<-ctx.Done()
		past := time.Unix(1, 0)
		conn.SetReadDeadline(past)
	}()

	o := &outbox{conn: conn, patience: s.writeTimeout}
	o.ready = sync.NewCond(&o.mu)
	sent := make(chan error, 1)
	go func() {
		sent <- o.drain()
		cancel()
	}()

	var work sync.WaitGroup
	r := bufio.NewReader(conn)
	var readErr error
	for {
		var line string
		if line, readErr = r.ReadString('\n'); readErr != nil {
			break
		}
		tag, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !s.take() {
			o.put(tag + " busy")
			continue
		}
		work.Add(1)
		go func() {
			defer work.Done()
			answer, err := s.handle(ctx, text)
			s.give()
			if err != nil {
				o.put(tag + " failed")
				return
			}
			o.put(tag + " ok " + answer)
		}()
	}
	cancel()
	<-watched
	conn.Close()
	work.Wait()
	o.close()
	writeErr := <-sent
	switch {
	case parent.Err() != nil || errors.Is(readErr, io.EOF):
		return nil
	case writeErr != nil:
		return fmt.Errorf("scanner: write: %w", writeErr)
	}
	return fmt.Errorf("scanner: read: %w", readErr)
}

func (s *Server) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy == s.workers {
		return false
	}
	s.busy++
	return true
}

func (s *Server) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
}

// outbox keeps replies until the one goroutine that writes can send them.
type outbox struct {
	conn     net.Conn
	patience time.Duration

	mu     sync.Mutex
	ready  *sync.Cond
	lines  []string
	closed bool
}

func (o *outbox) put(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, line+"\n")
	o.ready.Signal()
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.ready.Signal()
}

// drain sends what is put into the box until it is closed or a send fails.
func (o *outbox) drain() error {
	for {
		o.mu.Lock()
		for len(o.lines) == 0 && !o.closed {
			o.ready.Wait()
		}
		lines := o.lines
		o.lines = nil
		o.mu.Unlock()
		if len(lines) == 0 {
			return nil
		}
		for _, line := range lines {
			o.conn.SetWriteDeadline(time.Now().Add(o.patience))
			if _, err := io.WriteString(o.conn, line); err != nil {
				return err
			}
		}
	}
}
