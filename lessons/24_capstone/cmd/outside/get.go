package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"time"
)

// answer is one line of get and watch. Status 0 is no answer, and Error says
// why; a tcp:// URL that accepts a connection has status 1.
type answer struct {
	URL    string  `json:"url,omitempty"`
	At     float64 `json:"at,omitempty"` // seconds since the command began
	Status int     `json:"status"`
	Error  string  `json:"error,omitempty"`
	Body   string  `json:"body,omitempty"` // its beginning
	MS     float64 `json:"ms"`
}

func (a answer) same(b answer) bool { return a.Status == b.Status && a.Error == b.Error }

// get asks each URL once, and ends with status 0 whatever the answers are:
// what is to be made of them is for who reads the lines.
func get(ctx context.Context, args []string, _ io.Reader, out io.Writer) error {
	f := flags("get")
	timeout := f.Duration("timeout", 3*time.Second, "how long to wait for each")
	processes := f.Bool("ps", false, "list the processes that can be seen from here first")
	if err := f.Parse(args); err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	if *processes {
		if err := ps(enc); err != nil {
			return err
		}
	}
	for _, u := range f.Args() {
		if err := enc.Encode(ask(ctx, u, *timeout)); err != nil {
			return err
		}
	}
	return nil
}

// watch asks a URL on a new connection each time, and prints a line whenever
// the answer changes. It ends after -for, or once nobody has answered for
// -gone after somebody had.
func watch(ctx context.Context, args []string, _ io.Reader, out io.Writer) error {
	f := flags("watch")
	last := f.Duration("for", 2*time.Minute, "how long to watch")
	gone := f.Duration("gone", 2*time.Second, "how long without an answer is the end")
	every := f.Duration("every", 100*time.Millisecond, "how often to ask")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 1 {
		return errors.New("watch: one URL")
	}
	ctx, cancel := context.WithTimeout(ctx, *last)
	defer cancel()
	enc := json.NewEncoder(out)
	begin := time.Now()
	var before answer
	var silent time.Time // since when nobody answers
	heard := false
	for first := true; ctx.Err() == nil; first = false {
		at := time.Now()
		a := ask(ctx, f.Arg(0), time.Second)
		if ctx.Err() != nil {
			return nil
		}
		a.URL, a.Body, a.At = "", "", at.Sub(begin).Seconds()
		if first || !a.same(before) {
			if err := enc.Encode(a); err != nil {
				return err
			}
		}
		before = a
		switch {
		case a.Status != 0:
			heard, silent = true, time.Time{}
		case silent.IsZero():
			silent = at
		case heard && time.Since(silent) > *gone:
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(*every):
		}
	}
	return nil
}

// ask opens a connection of its own for one question.
func ask(ctx context.Context, to string, timeout time.Duration) (a answer) {
	a.URL = to
	begin := time.Now()
	defer func() { a.MS = float64(time.Since(begin).Microseconds()) / 1000 }()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	u, err := url.Parse(to)
	if err != nil {
		a.Error = err.Error()
		return a
	}
	if u.Scheme == "tcp" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
		if err != nil {
			a.Error = reason(err)
			return a
		}
		conn.Close()
		a.Status = 1
		return a
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
	if err != nil {
		a.Error = err.Error()
		return a
	}
	req.Close = true
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		a.Error = reason(err)
		return a
	}
	defer resp.Body.Close()
	a.Status = resp.StatusCode
	b, err := io.ReadAll(io.LimitReader(resp.Body, 8<<10))
	if err != nil {
		a.Error = reason(err)
	}
	a.Body = string(b)
	return a
}

var noise = regexp.MustCompile(`^[A-Z][a-z]+ "[^"]*": |[0-9.]+:[0-9]+->|(read|write|dial) (tcp|udp) `)

// reason is an error without what differs from one connection to the next.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "timed out"
	}
	var u *url.Error
	if errors.As(err, &u) {
		if u.Timeout() {
			return "timed out"
		}
		err = u.Err
	}
	return short(err.Error())
}

func short(text string) string {
	text = noise.ReplaceAllString(text, "")
	if len(text) > 120 {
		text = fmt.Sprintf("%s…", text[:120])
	}
	return text
}
