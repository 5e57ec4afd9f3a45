// One function sends every request, reads the answer whole and closes it;
// counts are atomic, the memory is a sync.Map, and the error holds what every
// attempt said.

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
	"sync/atomic"
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
	cfg   Config
	http  http.Client
	known sync.Map // address → Place

	asked, hits, failed atomic.Int64
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
	return &Client{cfg: cfg, http: http.Client{Transport: cfg.Transport}}
}

// Locate returns where an address lies. All that went wrong is in its error.
func (c *Client) Locate(ctx context.Context, address string) (Place, error) {
	if place, ok := c.known.Load(address); ok {
		c.hits.Add(1)
		return place.(Place), nil
	}
	var errs []error
	for len(errs) < c.cfg.Attempts {
		place, err := c.ask(ctx, address)
		if err == nil {
			c.known.Store(address, place)
			return place, nil
		}
		errs = append(errs, err)
		if errors.Is(err, ErrNotFound) || ctx.Err() != nil {
			break
		}
	}
	c.failed.Add(1)
	return Place{}, errors.Join(errs...)
}

func (c *Client) ask(ctx context.Context, address string) (Place, error) {
	c.asked.Add(1)
	code, text, err := c.get(ctx, "/v1/place?address="+url.QueryEscape(address))
	switch {
	case err != nil:
		return Place{}, err
	case code == http.StatusNotFound:
		return Place{}, ErrNotFound
	case code != http.StatusOK:
		return Place{}, fmt.Errorf("%w: status %d", ErrUnavailable, code)
	}
	var place *struct {
		Lat, Lon *float64
		Zone     string
	}
	if err := json.Unmarshal(text, &place); err != nil {
		return Place{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if place == nil || place.Lat == nil || place.Lon == nil {
		return Place{}, fmt.Errorf("%w: the answer names no place", ErrUnavailable)
	}
	return Place{Lat: *place.Lat, Lon: *place.Lon, Zone: place.Zone}, nil
}

// get sends one request and reads what comes back, up to 64 KiB.
func (c *Client) get(ctx context.Context, path string) (code int, text []byte, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.URL+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	text, err = io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, text, err
}

// Warm asks for addresses in the background.
func (c *Client) Warm(ctx context.Context, addresses []string) <-chan struct{} {
	done := make(chan struct{})
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.WarmTime, errors.New("geo: warming took too long"))
	go c.warm(ctx, cancel, addresses, done)
	return done
}

func (c *Client) warm(ctx context.Context, cancel context.CancelFunc, addresses []string, done chan<- struct{}) {
	defer close(done)
	defer cancel()
	for _, address := range addresses {
		// What cannot be found now is asked for again when an order needs it.
		if _, err := c.Locate(ctx, address); err != nil && ctx.Err() != nil {
			return
		}
	}
}

// Ready returns nil when the service answers 200 to a health check.
func (c *Client) Ready(ctx context.Context) error {
	code, _, err := c.get(ctx, "/healthz")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("%w: status %d", ErrUnavailable, code)
	}
	return err
}

// Stats returns the counts as they are now.
func (c *Client) Stats() Stats {
	return Stats{Asked: int(c.asked.Load()), Hits: int(c.hits.Load()), Failed: int(c.failed.Load())}
}
