package booking_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"

	"pitstop/checker/probe"
	booking "pitstop/lessons/13_structured_logging"
	"pitstop/lessons/dispatch"
)

func TestService_EveryEntryTellsItsOrder(t *testing.T) {
	for _, s := range situations() {
		d := newDesk(t, s.setup)
		d.serve(order("AMS-1001"), "trace-7f3a")
		entries := d.entries()
		lost := 0
		for _, e := range entries {
			if e.fields["orderID"] != "AMS-1001" || e.fields["traceID"] != "trace-7f3a" {
				lost++
			}
		}
		if !probe.Equal(t, "entries without orderID and traceID, "+s.name, lost, 0, "entries") {
			probe.Errorf(t, "log.correlation", "%d of %d entries have no field orderID=AMS-1001 or no field traceID=trace-7f3a, %s.", lost, len(entries), s.name)
		}
	}
}

func TestService_MessagesAreConstant(t *testing.T) {
	var messages [2][]string
	for i, id := range []string{"AMS-1001", "RTM-2002"} {
		d := newDesk(t, nil)
		d.serve(order(id), "trace-"+id)
		for _, e := range d.entries() {
			messages[i] = append(messages[i], e.Message)
		}
	}
	differ := 0
	for i, m := range messages[0] {
		if i >= len(messages[1]) || m != messages[1][i] {
			differ++
		}
	}
	if !probe.Equal(t, "messages that differ between two orders", differ, 0, "messages") {
		probe.Errorf(t, "log.message", "%d of %d messages differ between two orders that went the same way: nobody can count them. One ends in %q.",
			differ, len(messages[0]), tail(messages[0][0]))
	}
}

func TestService_DurationIsMeasured(t *testing.T) {
	const each = 15 * time.Millisecond
	slow := func(c *booking.Config) {
		charge, assign := c.Charge, c.Assign
		c.Charge = func(ctx context.Context, r booking.Request) (string, error) {
			time.Sleep(each)
			return charge(ctx, r)
		}
		c.Assign = func(ctx context.Context, o dispatch.Order) (string, error) {
			time.Sleep(each)
			return assign(ctx, o)
		}
	}
	for _, s := range situations() {
		least := 2 * each
		if s.name == "the card was declined" {
			least = each // it never comes to Assign
		}
		d := newDesk(t, func(c *booking.Config) {
			if s.setup != nil {
				s.setup(c)
			}
			slow(c)
		})
		start := time.Now()
		d.serve(order("AMS-1001"), "trace-7f3a")
		most := time.Since(start)

		n := 0
		for _, e := range d.entries() {
			v, ok := e.fields["duration"]
			if !ok {
				continue
			}
			n++
			took, ok := v.(time.Duration)
			switch {
			case !ok:
				probe.Errorf(t, "log.duration", "the field duration is a %T, %v, and not a time.Duration, %s.", v, v, s.name)
			case took < least || took > most:
				probe.Errorf(t, "log.duration", "the field duration says %v for an order that took between %v and %v, %s.", took, least, most, s.name)
			}
		}
		if !probe.Equal(t, "entries with a duration, "+s.name, n, 1, "entries") {
			probe.Errorf(t, "log.duration", "%d entries have the field duration, %s; there is one for each order.", n, s.name)
		}
	}
}

func TestService_ErrorIsAField(t *testing.T) {
	for _, s := range situations() {
		d := newDesk(t, s.setup)
		status, _ := d.serve(order("AMS-1001"), "trace-7f3a")

		worst := zapcore.DebugLevel
		var reason, text any
		for _, e := range d.entries() {
			worst = max(worst, e.Level)
			if v, ok := e.fields["reason"]; ok {
				reason = v
			}
			if v, ok := e.fields["error"]; ok {
				text = v
			}
		}
		if worst != s.level {
			probe.Errorf(t, "log.level", "the highest level is %v and not %v, %s.", worst, s.level, s.name)
		}
		if status != s.status {
			probe.Errorf(t, "log.reason", "the depot was answered %d and not %d, %s.", status, s.status, s.name)
		}
		if s.reason == "" {
			if text != nil {
				probe.Errorf(t, "log.error", "an entry has an error, %v, %s.", text, s.name)
			}
			continue
		}
		if reason != s.reason {
			probe.Errorf(t, "log.reason", "the field reason is %v and not %q, %s.", quote(reason), s.reason, s.name)
		}
		if v, _ := text.(string); !strings.Contains(v, s.says) {
			probe.Errorf(t, "log.error", "the field error is %v, which does not say %q, %s.", quote(text), s.says, s.name)
		}
	}
}

func TestService_NoSecretInTheLog(t *testing.T) {
	d := newDesk(t, nil)
	d.serve(order("AMS-1001"), "trace-7f3a")
	d.checkSecrets("an order that was booked")
}

func TestNewLogger_LinesAreComplete(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dispatchd.log")
	logger, err := booking.NewLogger(booking.LogConfig{Level: zap.NewAtomicLevel(), Outputs: []string{file}})
	if err != nil || logger == nil {
		probe.Fatalf(t, "log.build", "NewLogger returned %v and the error %v for a file that can be written.", logger, err)
	}
	logger.Info("order booked", zap.String("orderID", "AMS-1001"))
	lines := readLines(t, file)
	if len(lines) != 1 {
		probe.Fatalf(t, "log.keys", "one entry gave %d lines: %q.", len(lines), lines)
	}
	got := parse(lines[0])
	var missing []string
	for _, key := range []string{"ts", "level", "msg", "orderID"} {
		if v, ok := got[key]; !ok || v == "" {
			missing = append(missing, key)
		}
	}
	if !probe.Equal(t, "keys that a line lacks", len(missing), 0, "keys") {
		probe.Errorf(t, "log.keys", "the line %s lacks %s.", lines[0], strings.Join(missing, ", "))
	}
}

// situation is one way that an order goes.
type situation struct {
	name   string
	setup  func(*booking.Config)
	status int
	level  zapcore.Level
	reason string
	says   string // what the error must tell
}

func situations() []situation {
	return []situation{
		{"it was booked", nil, 201, zapcore.InfoLevel, "", ""},
		{"the card was declined", failCharge(fmt.Errorf("gateway eu-west: %w", &booking.DeclinedError{Code: "insufficient_funds"})),
			402, zapcore.WarnLevel, "declined", "card declined: insufficient_funds"},
		{"no courier could be found", failAssign(fmt.Errorf("couriers: %w", io.ErrUnexpectedEOF)),
			500, zapcore.ErrorLevel, "internal", "unexpected EOF"},
		{"the couriers were too slow", failAssign(fmt.Errorf("couriers: %w", context.DeadlineExceeded)),
			504, zapcore.ErrorLevel, "timeout", "deadline exceeded"},
	}
}

func failCharge(err error) func(*booking.Config) {
	return func(c *booking.Config) {
		c.Charge = func(context.Context, booking.Request) (string, error) { return "", err }
	}
}

func failAssign(err error) func(*booking.Config) {
	return func(c *booking.Config) {
		c.Assign = func(context.Context, dispatch.Order) (string, error) { return "", err }
	}
}

// What no log may hold. The digits of the number are set apart, as a clerk
// types them.
const (
	number    = "4111 1111 1111 1234"
	digits    = "4111111111111234"
	cvc       = "7370"
	recipient = "Saskia van Uylenburgh"
	address   = "Jodenbreestraat 4, Amsterdam"
)

func order(id string) booking.Request {
	return booking.Request{
		Order: dispatch.Order{ID: id, Depot: "AMS", Recipient: recipient, Address: address, Grams: 1200},
		Card:  booking.Card{Number: number, CVC: cvc},
	}
}

// desk is a Service with its log kept twice: as the entries that zap saw, and
// as the lines that a file would hold.
type desk struct {
	t       *testing.T
	svc     *booking.Service
	seen    *observer.ObservedLogs
	written *zaptest.Buffer
}

type entry struct {
	zapcore.Entry
	fields map[string]any
}

type traceKey struct{}

func newDesk(t *testing.T, setup func(*booking.Config)) *desk {
	t.Helper()
	core, seen := observer.New(zap.DebugLevel)
	d := &desk{t: t, seen: seen, written: &zaptest.Buffer{}}
	lines := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(d.written), zap.DebugLevel)
	cfg := booking.Config{
		Logger: zap.New(zapcore.NewTee(core, lines)),
		TraceID: func(ctx context.Context) string {
			id, _ := ctx.Value(traceKey{}).(string)
			return id
		},
		Charge: func(context.Context, booking.Request) (string, error) { return "pay-55", nil },
		Assign: func(context.Context, dispatch.Order) (string, error) { return "courier-12", nil },
	}
	if setup != nil {
		setup(&cfg)
	}
	d.svc = booking.New(cfg)
	return d
}

// serve sends one order and returns the answer.
func (d *desk) serve(req booking.Request, trace string) (status int, body string) {
	d.t.Helper()
	b, err := json.Marshal(req)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.serveBody(b, trace)
}

func (d *desk) serveBody(body []byte, trace string) (int, string) {
	d.t.Helper()
	ctx := context.WithValue(d.t.Context(), traceKey{}, trace)
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/orders", bytes.NewReader(body))
	w := httptest.NewRecorder()
	d.do("ServeHTTP", func() { d.svc.ServeHTTP(w, r) })
	return w.Code, w.Body.String()
}

// do calls f, and ends the test when it panics or is not back.
func (d *desk) do(name string, f func()) {
	d.t.Helper()
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		f()
	}()
	select {
	case v := <-done:
		if v != nil {
			probe.Fatalf(d.t, "log.panic", "%s panicked with %q.", name, fmt.Sprint(v))
		}
	case <-time.After(4 * time.Second):
		probe.Fatalf(d.t, "log.hang", "%s was not back after 4s.", name)
	}
}

// entries is what was logged. A service that logs nothing ends the test.
func (d *desk) entries() []entry {
	d.t.Helper()
	var all []entry
	for _, e := range d.seen.All() {
		all = append(all, entry{e.Entry, e.ContextMap()})
	}
	if len(all) == 0 {
		probe.Fatalf(d.t, "log.silent", "an order was answered, and Config.Logger got no entry.")
	}
	return all
}

// checkSecrets looks for secrets in all that was logged.
func (d *desk) checkSecrets(where string) {
	d.t.Helper()
	leaks := map[string]int{}
	lines := d.written.Lines()
	for _, line := range lines {
		for _, s := range secretsIn(line) {
			leaks[s]++
		}
	}
	var found []string
	for s, n := range leaks {
		found = append(found, fmt.Sprintf("%s (in %d of %d)", s, n, len(lines)))
	}
	slices.Sort(found)
	if !probe.Equal(d.t, "secrets in the log of "+where, len(found), 0, "secrets") {
		probe.Errorf(d.t, "log.secret", "the log of %s holds %s.", where, strings.Join(found, ", "))
	}
}

// secretsIn names the secrets that a text, or a line of JSON, holds.
func secretsIn(line string) (found []string) {
	text := line
	if m := parse(line); m != nil {
		text = strings.Join(texts(m), "\n")
	}
	if strings.Contains(strings.NewReplacer(" ", "", "-", "").Replace(text), digits) {
		found = append(found, "the card's number")
	}
	for name, s := range map[string]string{"the CVC": cvc, "the recipient": recipient, "the address": address} {
		if strings.Contains(text, s) {
			found = append(found, name)
		}
	}
	return found
}

// texts lists the strings in a JSON value: a CVC has few digits, and numbers
// as durations may hold them by chance.
func texts(v any) (all []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, v := range v {
			all = append(all, texts(v)...)
		}
	case map[string]any:
		for k, v := range v {
			if k == "ts" {
				continue
			}
			all = append(append(all, k), texts(v)...)
		}
	}
	return all
}

func parse(line string) map[string]any {
	var m map[string]any
	if json.Unmarshal([]byte(line), &m) != nil {
		return nil
	}
	return m
}

func readLines(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })
}

func tail(s string) string { return s[max(0, len(s)-40):] }

func quote(v any) string {
	if v == nil {
		return "missing"
	}
	return fmt.Sprintf("%q", fmt.Sprint(v))
}
