package dispatchd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	pool "pitstop/lessons/01_bounded_workers"
	scanner "pitstop/lessons/02_request_scope"
	pipeline "pitstop/lessons/04_pipeline"
	broadcast "pitstop/lessons/05_broadcast"
	positions "pitstop/lessons/06_shared_cache"
	label "pitstop/lessons/07_slice_retention"
	budget "pitstop/lessons/09_memory_budget"
	prices "pitstop/lessons/12_hidden_copy"
	booking "pitstop/lessons/13_structured_logging"
	routing "pitstop/lessons/14_tracing"
	switches "pitstop/lessons/16_debug_switches"
	geo "pitstop/lessons/17_static_analysis"
	outbox "pitstop/lessons/18_leak_test"
	dock "pitstop/lessons/19_race_test"
	card "pitstop/lessons/20_deadlines"
	catalog "pitstop/lessons/21_fallbacks"
	health "pitstop/lessons/22_health"
	"pitstop/lessons/dispatch"
)

// Service is dispatchd before it runs: every part is made, and nothing of it
// listens. The parts that have an end of their own are exported; Run, in
// wiring.go, starts and stops them.
type Service struct {
	Settings Settings
	Plan     budget.Plan  // how the memory is shared
	Log      *slog.Logger // for the wiring and the parts that take a slog.Logger

	// Health answers the probes. Started and Stopping are the wiring's to call.
	Health *health.Health

	// Scanners answers the hand scanners: Serve takes a listener, and ends
	// their connections when its context ends.
	Scanners *scanner.Server

	// Feed takes the parcel events that POST /events was sent and said 202 to.
	// Close it when no more can come: HandleEvents then ends by itself.
	Feed *Feed

	// Pool runs what orders leave behind after their answer.
	Pool *pool.Pool

	// Outbox sends messages to phones. What it has not sent by Close is lost,
	// and the couriers' app asks for it at its next start.
	Outbox *outbox.Outbox

	// Hub hands on the depots' settings. Close ends PushSettings.
	Hub *broadcast.Hub[DepotSettings]

	// StopTracing hands over the spans that have ended, of everything above,
	// and gives up when its context ends.
	StopTracing func(context.Context) error

	version   string
	world     *outside
	zap       *zap.Logger
	verbosity *switches.Verbosity
	events    *pipeline.Pipeline
	positions *positions.Cache
	labels    *label.Index
	photos    *photos
	prices    *prices.Table
	bookings  *booking.Service
	planner   *routing.Planner
	geo       *geo.Client
	dock      *dock.Dock
	cards     *card.Loader
	catalog   *catalog.Catalog
	tracing   trace.TracerProvider

	settings atomic.Pointer[DepotSettings] // the newest

	mu     sync.Mutex
	recent []dispatch.Event // for the board, newest last
	seen   map[string]bool  // couriers who have reported
}

// DepotSettings is what the operators set and every depot's screen goes by.
type DepotSettings struct {
	Notice string `json:"notice"`
	Late   int    `json:"late"`
}

const (
	zones  = 40
	recent = 50 // events on the board
)

// New makes all parts. It starts nothing but the outbox, which waits.
func New(settings Settings, version string) (*Service, error) {
	s := &Service{Settings: settings, version: version, world: newOutside(settings.World), Feed: newFeed(), seen: map[string]bool{}}
	var err error
	s.Plan, err = budget.Make(budget.Config{
		Files:       os.DirFS(settings.Root),
		WorkerBytes: 2 << 20, WorkersPerCPU: 4,
		MinCache: 4 << 20, MaxCache: 256 << 20,
	})
	if err != nil {
		return nil, err
	}
	fmt.Printf("plan limit=%d workers=%d cache=%d\n", s.Plan.Limit, s.Plan.Workers, s.Plan.Cache)

	s.verbosity = switches.NewVerbosity(settings.Switches.Level)
	s.Log = slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: s.verbosity}))
	level := zap.NewAtomicLevelAt(max(zapcore.Level(math.Floor(float64(settings.Switches.Level)/4)), zapcore.DebugLevel))
	if s.zap, err = booking.NewLogger(booking.LogConfig{Level: level, Outputs: []string{"stderr"}}); err != nil {
		return nil, err
	}
	s.tracing, s.StopTracing, err = routing.Start(routing.Export{Exporter: collector{s.world}, Service: "dispatchd", Ratio: 1})
	if err != nil {
		return nil, err
	}
	s.Health = health.New(health.Config{Version: version, Checks: []health.Check{{Name: "database", Ping: s.world.ping}}})
	s.Pool = pool.New(pool.Config{Workers: s.Plan.Workers, Queue: 16 * s.Plan.Workers, OnPanic: func(v any, stack []byte) {
		s.Log.Error("a task panicked", "value", fmt.Sprint(v), "stack", string(stack))
	}})
	s.dock = dock.New(dock.Config{Bays: 12, Pause: 100 * time.Millisecond, Labels: func() []string { return make([]string, 12) }})
	s.Scanners = scanner.New(scanner.Config{Workers: 4 * s.Plan.Workers, Handle: s.world.scan})
	s.Outbox = outbox.New(outbox.Config{Retry: time.Second, Send: func(ctx context.Context, m outbox.Message) error {
		return s.world.do(ctx, "POST", "/phones/"+m.Courier, m, nil)
	}})
	s.Hub = broadcast.New(DepotSettings{})
	s.events = pipeline.New(pipeline.Config{Workers: 4, Handle: notice})
	s.positions = positions.New(positions.Config{Load: s.world.position, TTL: time.Minute})
	s.labels = label.NewIndex()
	s.photos = newPhotos(s.Plan.Cache)
	s.prices = prices.New(tariffs())
	s.geo = geo.New(geo.Config{URL: settings.World + "/geo", Timeout: 500 * time.Millisecond, Attempts: 2})
	s.bookings = booking.New(booking.Config{
		Logger: s.zap, TraceID: traceID,
		Charge: func(ctx context.Context, r booking.Request) (string, error) { return s.world.charge(ctx, r.Order) },
		Assign: s.assign,
	})
	s.planner = routing.New(routing.Config{
		Tracing: s.tracing, Propagator: propagation.TraceContext{}, Client: s.world.client, Map: settings.World + "/map",
		Store: func(ctx context.Context, r routing.Route) error {
			return s.world.do(ctx, "PUT", "/db/routes/"+r.Order, r, nil)
		},
		Notify: s.tell,
		Submit: func(task func()) error { return s.Pool.Submit(task) },
	})
	s.cards = card.New(card.Config{Orders: s.world, Customers: s.world, Preferences: s.world, Timeout: 5 * time.Second})
	s.catalog = catalog.New(catalog.Config{
		Primary: products{s.world, "primary"}, Backup: products{s.world, "backup"},
		Budget: time.Second, Fresh: time.Minute, Stale: time.Hour,
		Retries: 3, Pause: 20 * time.Millisecond, Failures: 5, Cooldown: 10 * time.Second,
	})
	return s, nil
}

// AdminAddr is where profiles are served, or "" where they are not wanted.
func (s *Service) AdminAddr() string {
	if !s.Settings.Switches.Pprof {
		return ""
	}
	return s.Settings.AdminAddr
}

// HandleEvents turns the events of Feed into notices and stores them. It
// returns at once; the channel is closed when Feed was closed and all of its
// events are stored, or soon after ctx has ended, whatever is left then.
func (s *Service) HandleEvents(ctx context.Context) (done <-chan struct{}) {
	ended := make(chan struct{})
	results := s.events.Run(ctx, s.Feed.events)
	go func() {
		defer close(ended)
		for r := range results {
			if r.Err != nil {
				s.Log.Error("event not handled", "event", r.Event.ID, "err", r.Err)
				continue
			}
			s.remember(r.Event)
			if err := s.world.do(ctx, "PUT", "/db/notices/"+r.Event.ID, map[string]string{"text": r.Notice}, nil); err != nil {
				s.Log.Error("notice lost", "event", r.Event.ID, "err", err)
			}
		}
	}()
	return ended
}

// PushSettings keeps the board and every depot's screen at the newest
// settings. It returns at once; the channel is closed when Hub was closed or ctx has ended.
func (s *Service) PushSettings(ctx context.Context) (done <-chan struct{}) {
	ended := make(chan struct{})
	var wg sync.WaitGroup
	own := s.Hub.Subscribe(ctx)
	wg.Go(func() {
		for v := range own {
			s.settings.Store(&v)
		}
	})
	for n := range 3 {
		newer := s.Hub.Subscribe(ctx)
		wg.Go(func() {
			for v := range newer {
				if err := s.world.do(ctx, "PUT", fmt.Sprintf("/depots/depot_%d", n+1), v, nil); err != nil && ctx.Err() == nil {
					s.Log.Warn("depot not reached", "depot", n+1, "err", err)
				}
			}
		})
	}
	go func() {
		wg.Wait()
		close(ended)
	}()
	return ended
}

// Sync writes out what the loggers hold back.
func (s *Service) Sync() { _ = s.zap.Sync() }

// ErrFeedClosed is Send's answer after Close.
var ErrFeedClosed = errors.New("feed: closed")

// Feed is a channel that can be closed while others send.
type Feed struct {
	events chan dispatch.Event
	closed chan struct{}
	once   sync.Once
	mu     sync.RWMutex // held to read by who sends, to write by who closes
}

func newFeed() *Feed {
	return &Feed{events: make(chan dispatch.Event, 64), closed: make(chan struct{})}
}

// Send hands an event over. It waits for room until ctx ends.
func (f *Feed) Send(ctx context.Context, e dispatch.Event) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	select {
	case <-f.closed:
		return ErrFeedClosed
	default:
	}
	select {
	case f.events <- e:
		return nil
	case <-f.closed:
		return ErrFeedClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the feed. What was sent is still handled. It may be called
// several times.
func (f *Feed) Close() {
	f.once.Do(func() {
		close(f.closed) // lets go who waits for room
		f.mu.Lock()
		defer f.mu.Unlock()
		close(f.events)
	})
}

// notice is what the recipient reads. It panics for a kind of event that it
// does not know, as code does that has met two kinds so far.
func notice(_ context.Context, e dispatch.Event) (string, error) {
	words := map[string][]string{
		"picked_up": {"Your parcel", "was picked up"}, "delivered": {"Your parcel", "is at your door"},
	}
	w := words[e.Kind]
	return w[0] + " " + e.Order + " " + w[1] + ".", nil
}

// tell stores what a courier has to know, and sends it to the phone.
func (s *Service) tell(ctx context.Context, r routing.Route) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.world.do(ctx, "PUT", "/db/told/"+r.Order, r, nil); err != nil {
		return err
	}
	if err := s.Outbox.Push(outbox.Message{Courier: r.Courier, Text: "new order " + r.Order}); err != nil {
		s.Log.Debug("message not sent", "courier", r.Courier, "err", err)
	}
	return nil
}

// assign finds the courier for an order, by the zone it goes to.
func (s *Service) assign(ctx context.Context, o dispatch.Order) (string, error) {
	place, err := s.geo.Locate(ctx, o.Address)
	if err != nil {
		return "", err
	}
	return "van-" + place.Zone, nil
}

func (s *Service) remember(e dispatch.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recent = append(s.recent, e)
	if len(s.recent) > recent {
		s.recent = append([]dispatch.Event(nil), s.recent[len(s.recent)-recent:]...)
	}
}

func traceID(ctx context.Context) string { return trace.SpanContextFromContext(ctx).TraceID().String() }

// tariffs is the price list: forty zones in four regions.
func tariffs() []prices.Tariff {
	list := make([]prices.Tariff, zones)
	for i := range list {
		t := &list[i]
		t.Zone, t.Region = fmt.Sprintf("Z%d", i+1), []string{"north", "east", "south", "west"}[i%4]
		for step := range t.Cents {
			t.Cents[step] = int64(300 + 10*step + i)
		}
	}
	return list
}
