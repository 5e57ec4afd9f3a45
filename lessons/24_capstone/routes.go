package dispatchd

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"
	"go.opentelemetry.io/otel/propagation"

	label "pitstop/lessons/07_slice_retention"
	intake "pitstop/lessons/08_streaming_json"
	report "pitstop/lessons/10_report"
	board "pitstop/lessons/11_json_encoding"
	switches "pitstop/lessons/16_debug_switches"
	card "pitstop/lessons/20_deadlines"
	catalog "pitstop/lessons/21_fallbacks"
	"pitstop/lessons/dispatch"
)

const (
	maxSmall = 64 << 10 // a body of one object
	maxPhoto = 4 << 20  // a picture, or a scanned document
)

// Routes answers the depots, the couriers' phones and the probes: the port
// that the Service in the cluster leads to.
func (s *Service) Routes() http.Handler {
	r := chi.NewRouter()
	r.Use(fromTrace)
	r.Handle("/health/*", s.Health.Handler())
	r.Handle(intake.Path, intake.New(intake.Config{Handle: s.world.storeOrder, MaxBody: 64 << 20, IdleTimeout: 10 * time.Second}))
	r.Post("/bookings", s.bookings.ServeHTTP)
	r.Post("/routes", s.planner.ServeHTTP)
	r.Post("/events", s.postEvent)
	r.Post("/positions", s.postPosition)
	r.Get("/couriers/{id}", s.getCourier)
	r.Get("/cards/{id}", s.getCard)
	r.Get("/products/{id}", s.getProduct)
	r.Get("/quotes", s.getQuote)
	r.Post("/labels", s.postLabel)
	r.Get("/labels/{tracking}", s.getLabel)
	r.Put("/photos/{id}", s.putPhoto)
	r.Get("/photos/{id}", s.getPhoto)
	r.Method(http.MethodGet, "/board", board.New(board.Config{Board: s.board}))
	r.Post("/bays/{van}", func(w http.ResponseWriter, r *http.Request) {
		bay, err := s.dock.Take(r.PathValue("van"))
		answer(w, bay, err)
	})
	if s.Settings.Switches.LogRequests {
		return switches.LogRequests(s.Log, r)
	}
	return r
}

// Operators answers those who run dispatchd: a port that is open within the
// cluster, and that no Service leads to.
func (s *Service) Operators() http.Handler {
	r := chi.NewRouter()
	r.Handle("/health/*", s.Health.Admin())
	r.Get("/report", s.getReport)
	r.Put("/settings", func(w http.ResponseWriter, r *http.Request) {
		var v DepotSettings
		if read(w, r, &v) {
			answer(w, nil, s.Hub.Publish(v))
		}
	})
	r.Post("/discounts", func(w http.ResponseWriter, r *http.Request) {
		var v struct {
			Region  string `json:"region"`
			Percent int    `json:"percent"`
		}
		if read(w, r, &v) {
			answer(w, map[string]int{"tariffs": s.prices.Discount(v.Region, v.Percent)}, nil)
		}
	})
	r.Post("/verbosity", func(w http.ResponseWriter, r *http.Request) {
		var v struct {
			Level   slog.Level `json:"level"`
			Seconds int        `json:"seconds"`
		}
		if read(w, r, &v) {
			s.verbosity.Turn(v.Level, time.Duration(v.Seconds)*time.Second)
			answer(w, nil, nil)
		}
	})
	return r
}

// fromTrace takes up the trace that a request belongs to.
func fromTrace(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (s *Service) postEvent(w http.ResponseWriter, r *http.Request) {
	var e dispatch.Event
	if !read(w, r, &e) {
		return
	}
	if err := s.Feed.Send(r.Context(), e); err != nil {
		http.Error(w, "no more events for now", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func (s *Service) postPosition(w http.ResponseWriter, r *http.Request) {
	var p dispatch.Position
	if !read(w, r, &p) {
		return
	}
	s.positions.Report(p)
	s.mu.Lock()
	if len(s.seen) < 1000 {
		s.seen[p.Courier] = true
	}
	s.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func (s *Service) getCourier(w http.ResponseWriter, r *http.Request) {
	p, err := s.positions.Get(r.Context(), r.PathValue("id"))
	answer(w, p, err)
}

func (s *Service) getCard(w http.ResponseWriter, r *http.Request) {
	c, err := s.cards.Load(r.Context(), r.PathValue("id"))
	answer(w, c, err)
}

func (s *Service) getProduct(w http.ResponseWriter, r *http.Request) {
	p, err := s.catalog.Get(r.Context(), r.PathValue("id"))
	answer(w, p, err)
}

func (s *Service) getQuote(w http.ResponseWriter, r *http.Request) {
	grams, _ := strconv.Atoi(r.URL.Query().Get("grams"))
	cents, err := s.prices.Quote(r.URL.Query().Get("zone"), grams)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	answer(w, map[string]int64{"cents": cents}, nil)
}

func (s *Service) postLabel(w http.ResponseWriter, r *http.Request) {
	doc, ok := body(w, r)
	if !ok {
		return
	}
	tracking, err := s.labels.Add(doc)
	if errors.Is(err, label.ErrNoLabel) {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	answer(w, map[string]string{"tracking": tracking}, err)
}

func (s *Service) getLabel(w http.ResponseWriter, r *http.Request) {
	text, ok := s.labels.Lookup(r.PathValue("tracking"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	answer(w, map[string]string{"label": text}, nil)
}

func (s *Service) putPhoto(w http.ResponseWriter, r *http.Request) {
	if b, ok := body(w, r); ok {
		s.photos.put(r.PathValue("id"), b)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Service) getPhoto(w http.ResponseWriter, r *http.Request) {
	b, ok := s.photos.get(r.PathValue("id"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(b)
}

func (s *Service) board(ctx context.Context) (board.Board, error) {
	s.mu.Lock()
	couriers := make([]string, 0, len(s.seen))
	for id := range s.seen {
		couriers = append(couriers, id)
	}
	b := board.Board{Depot: "north", Taken: time.Now().UTC().Truncate(time.Second), Events: s.recent[:len(s.recent):len(s.recent)]}
	s.mu.Unlock()
	if v := s.settings.Load(); v != nil {
		b.Notice, b.Late = v.Notice, v.Late
	}
	slices.Sort(couriers)
	b.Couriers = make([]dispatch.Position, 0, len(couriers))
	for _, id := range couriers {
		p, err := s.positions.Get(ctx, id)
		if err != nil {
			return b, err
		}
		b.Couriers = append(b.Couriers, p)
	}
	return b, nil
}

func (s *Service) getReport(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	var broke error
	err := report.Write(w, time.Now(), s.world.delivered(r.Context(), &broke))
	if err := errors.Join(err, broke); err != nil {
		s.Log.Error("report cut short", "err", err)
		panic(http.ErrAbortHandler) // a report without its end must not look whole
	}
}

// body reads a whole picture or document, and no more than that.
func body(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	if r.ContentLength < 0 || r.ContentLength > maxPhoto {
		http.Error(w, "say how long it is, at most 4 MiB", http.StatusRequestEntityTooLarge)
		return nil, false
	}
	b := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, b); err != nil {
		http.Error(w, "body ends too soon", http.StatusBadRequest)
		return nil, false
	}
	return b, true
}

// read decodes one JSON object, and answers where it cannot.
func read(w http.ResponseWriter, r *http.Request, v any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSmall)).Decode(v); err != nil {
		status := http.StatusBadRequest
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			status = http.StatusRequestEntityTooLarge
		}
		http.Error(w, "not a JSON object as it is wanted here", status)
		return false
	}
	return true
}

// answer sends a value as JSON, or the status of an error. The error's text
// stays here: it may hold what is nobody's business.
func answer(w http.ResponseWriter, v any, err error) {
	switch {
	case err == nil:
	case errors.Is(err, catalog.ErrNotFound), errors.Is(err, errNotFound):
		http.Error(w, "no such thing", http.StatusNotFound)
		return
	case errors.Is(err, card.ErrTimeout), errors.Is(err, catalog.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	default:
		http.Error(w, "something broke", http.StatusInternalServerError)
		return
	}
	if v == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
