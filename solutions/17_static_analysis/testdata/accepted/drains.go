// Bodies are drained and then closed, so that connections serve again; Stats
// hands out a new struct behind a pointer, lock and all.

// Package geo asks the address service where a parcel goes. Every order that
// dispatchd takes passes through Locate, and a van drives to what it returns.
package geo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

var (
	// ErrNotFound says that the service does not know the address. It is an
	// answer, and asking again would not change it.
	ErrNotFound = errors.New("geo: no such address")

	// ErrUnavailable says that no attempt brought a usable answer.
	ErrUnavailable = errors.New("geo: service unavailable")
)

// Place is where an address lies.
type Place struct {
	Lat  float64 `json:"lat"`
	Lon  float64 `json:"lon"`
	Zone string  `json:"zone"`
}

// Config says where the service is, and how long it may take.
type Config struct {
	URL       string            // as http://geo.dispatch:8080
	Transport http.RoundTripper // nil: http.DefaultTransport
	Timeout   time.Duration     // for one request; 0: 2 s
	WarmTime  time.Duration     // for one Warm; 0: 1 min
	Attempts  int               // requests for one Locate at most; below 1: 3
}

// Stats counts what a client did. It is never copied while it is shared.
type Stats struct {
	mu     sync.Mutex
	Asked  int // requests for an address
	Hits   int // addresses that were known already
	Failed int // calls of Locate that returned an error
}

// String renders the counts for the log.
func (s *Stats) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("asked %d, hits %d, failed %d", s.Asked, s.Hits, s.Failed)
}

// Client asks the service, and remembers each place it was told. Several
// goroutines may use it at once. Make one with New.
type Client struct {
	cfg  Config
	http *http.Client

	mu    sync.Mutex // guards what follows
	known map[string]Place
	stats Stats // has a lock of its own
}

// New makes a client. It sends nothing yet.
func New(cfg Config) *Client {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.WarmTime <= 0 {
		cfg.WarmTime = time.Minute
	}
	if cfg.Attempts < 1 {
		cfg.Attempts = 3
	}
	return &Client{cfg: cfg, http: &http.Client{Transport: cfg.Transport}, known: map[string]Place{}}
}

// Locate returns where an address lies: from memory, or from the service, in
// Attempts requests at most. The error is ErrNotFound, or ErrUnavailable with
// the cause in its chain, as ctx.Err() when the caller has left. Without an
// error the place is one that the service named.
func (c *Client) Locate(ctx context.Context, address string) (Place, error) {
	if place, ok := c.remembered(address); ok {
		return place, nil
	}
	var err error
	for range c.cfg.Attempts {
		var place Place
		place, err = c.ask(ctx, address)
		switch {
		case err == nil:
			c.remember(address, place)
			return place, nil
		case errors.Is(err, ErrNotFound), ctx.Err() != nil:
			return c.give(err)
		}
	}
	return c.give(err)
}

func (c *Client) give(err error) (Place, error) {
	c.count(func(s *Stats) { s.Failed++ })
	return Place{}, err
}

// ask sends one request.
func (c *Client) ask(ctx context.Context, address string) (Place, error) {
	c.count(func(s *Stats) { s.Asked++ })
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.URL+"/v1/place?address="+url.QueryEscape(address), nil)
	if err != nil {
		return Place{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Place{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer drain(resp.Body)
	switch resp.StatusCode {
	case http.StatusOK:
		var place Place
		if err := json.NewDecoder(resp.Body).Decode(&place); err != nil {
			return Place{}, fmt.Errorf("%w: answer: %w", ErrUnavailable, err)
		}
		if place == (Place{}) {
			return Place{}, fmt.Errorf("%w: the answer is empty", ErrUnavailable)
		}
		return place, nil
	case http.StatusNotFound:
		return Place{}, ErrNotFound
	default:
		return Place{}, fmt.Errorf("%w: status %d", ErrUnavailable, resp.StatusCode)
	}
}

// drain reads what is left, so that the connection serves again.
func drain(body io.ReadCloser) {
	_, _ = io.Copy(io.Discard, io.LimitReader(body, 4<<10))
	_ = body.Close()
}

// Warm asks for addresses one after another, in the background, so that the
// first van of the day finds them remembered. It returns at once. The work
// ends when all were asked, when ctx ends, or after WarmTime; the channel is
// closed then.
func (c *Client) Warm(ctx context.Context, addresses []string) <-chan struct{} {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		ctx, cancel := context.WithDeadline(ctx, time.Now().Add(c.cfg.WarmTime))
		defer cancel()
		for _, address := range addresses {
			if _, err := c.Locate(ctx, address); ctx.Err() != nil && err != nil {
				return
			}
		}
	})
	return done
}

// Ready returns nil when the service answers 200 to a health check within
// Timeout, and otherwise ErrUnavailable, with the cause in its chain. The
// readiness probe of dispatchd calls it every second.
func (c *Client) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.URL+"/healthz", nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer func() {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10)) // so that the connection serves again
		_ = resp.Body.Close()
	}()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: status %d", ErrUnavailable, resp.StatusCode)
	}
	return nil
}

// Stats returns the counts as they are now. What it returned does not change
// afterwards.
func (c *Client) Stats() *Stats {
	c.stats.mu.Lock()
	defer c.stats.mu.Unlock()
	return &Stats{Asked: c.stats.Asked, Hits: c.stats.Hits, Failed: c.stats.Failed}
}

func (c *Client) count(change func(*Stats)) {
	c.stats.mu.Lock()
	defer c.stats.mu.Unlock()
	change(&c.stats)
}

func (c *Client) remembered(address string) (Place, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	place, ok := c.known[address]
	if ok {
		c.count(func(s *Stats) { s.Hits++ })
	}
	return place, ok
}

func (c *Client) remember(address string, place Place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[address] = place
}
