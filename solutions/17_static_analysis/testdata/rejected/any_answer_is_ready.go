// finding: geo.ready
//
// The body is closed now, and whatever the service answers, it is up.

// Package geo asks the address service where a parcel goes. Every order that
// dispatchd takes passes through Locate, and a van drives to what it returns.
package geo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// Stats counts what a client did. It is plain data: copy it as you like.
type Stats struct {
	Asked  int // requests for an address
	Hits   int // addresses that were known already
	Failed int // calls of Locate that returned an error
}

// String renders the counts for the log.
func (s Stats) String() string {
	return fmt.Sprintf("asked %d, hits %d, failed %d", s.Asked, s.Hits, s.Failed)
}

// Client asks the service, and remembers each place it was told. Several
// goroutines may use it at once. Make one with New.
type Client struct {
	cfg  Config
	http *http.Client

	mu    sync.Mutex // guards what follows
	known map[string]Place
	stats Stats
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
		if place, err = c.ask(ctx, address); err == nil {
			c.remember(address, place)
			return place, nil
		}
		if errors.Is(err, ErrNotFound) || ctx.Err() != nil {
			break
		}
	}
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
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		var named struct { // null and {} are JSON, too, and name no place
			Lat, Lon *float64
			Zone     string
		}
		if err := json.NewDecoder(resp.Body).Decode(&named); err != nil {
			return Place{}, fmt.Errorf("%w: answer: %w", ErrUnavailable, err)
		}
		if named.Lat == nil || named.Lon == nil {
			return Place{}, fmt.Errorf("%w: the answer names no place", ErrUnavailable)
		}
		return Place{Lat: *named.Lat, Lon: *named.Lon, Zone: named.Zone}, nil
	case http.StatusNotFound:
		return Place{}, ErrNotFound
	default:
		return Place{}, fmt.Errorf("%w: status %d", ErrUnavailable, resp.StatusCode)
	}
}

// Warm asks for addresses one after another, in the background, so that the
// first van of the day finds them remembered. It returns at once. The work
// ends when all were asked, when ctx ends, or after WarmTime; the channel is
// closed then.
func (c *Client) Warm(ctx context.Context, addresses []string) <-chan struct{} {
	done := make(chan struct{})
	ctx, cancel := context.WithTimeout(ctx, c.cfg.WarmTime)
	go func() {
		defer close(done)
		defer cancel()
		for _, address := range addresses {
			if _, err := c.Locate(ctx, address); ctx.Err() != nil && err != nil {
				return
			}
		}
	}()
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
	defer resp.Body.Close()
	return nil
}

// Stats returns the counts as they are now. What it returned does not change
// afterwards.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

func (c *Client) count(change func(*Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.stats)
}

func (c *Client) remembered(address string) (Place, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	place, ok := c.known[address]
	if ok {
		c.stats.Hits++
	}
	return place, ok
}

func (c *Client) remember(address string, place Place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[address] = place
}
