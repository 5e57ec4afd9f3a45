//go:build review

package booking_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"pitstop/checker/probe"
	booking "pitstop/lessons/13_structured_logging"
)

func TestMain(m *testing.M) {
	probe.Main(m, map[string]func() int{"build": build})
}

// failures are the ways to fail that the visible tests do not go.
func failures() []situation {
	declined := &booking.DeclinedError{Code: "do_not_honor"}
	return []situation{
		{"the declined card was joined to another error", failCharge(errors.Join(io.ErrClosedPipe, fmt.Errorf("bank: %w", declined))),
			402, zapcore.WarnLevel, "declined", "do_not_honor"},
		{"the declined card was wrapped three times", failCharge(fmt.Errorf("a: %w", fmt.Errorf("b: %w", &stepError{"c", declined}))),
			402, zapcore.WarnLevel, "declined", "do_not_honor"},
		{"the depot had gone", failAssign(&stepError{"couriers", context.Canceled}),
			499, zapcore.WarnLevel, "canceled", "context canceled"},
		{"a gateway took too long", failCharge(fmt.Errorf("bank: %w", context.DeadlineExceeded)),
			504, zapcore.ErrorLevel, "timeout", "deadline exceeded"},
		{"an error only spoke of a declined card", failCharge(errors.New("card declined: the switch is down")),
			500, zapcore.ErrorLevel, "internal", "the switch is down"},
		{"an error only spoke of a deadline", failAssign(errors.New("context deadline exceeded, says the radio")),
			500, zapcore.ErrorLevel, "internal", "says the radio"},
	}
}

type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string { return e.step + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

func TestReview_ReasonIsInTheChain(t *testing.T) {
	for _, s := range append(situations()[1:], failures()...) {
		d := newDesk(t, s.setup)
		status, body := d.serve(order("AMS-1001"), "trace-7f3a")
		d.checkFailure(s, status, body)
	}

	for what, clear := range map[string]func(*booking.Request){
		"address": func(r *booking.Request) { r.Address = "" }, "id": func(r *booking.Request) { r.ID = "" },
	} {
		incomplete := situation{"the " + what + " was missing", nil, 400, zapcore.WarnLevel, "invalid", booking.ErrIncomplete.Error()}
		d, req := newDesk(t, nil), order("AMS-1001")
		clear(&req)
		status, body := d.serve(req, "trace-7f3a")
		d.checkFailure(incomplete, status, body)
	}

	unreadable := situation{"the body was cut off", nil, 400, zapcore.WarnLevel, "invalid", ""}
	d := newDesk(t, nil)
	b, err := json.Marshal(order("AMS-1001"))
	if err != nil {
		t.Fatal(err)
	}
	status, body := d.serveBody(b[:len(b)-1], "trace-7f3a")
	d.checkFailure(unreadable, status, body)
	d.checkSecrets("an order that was cut off")
	for _, e := range d.entries() {
		if e.fields["orderID"] != "" || e.fields["traceID"] != "trace-7f3a" {
			probe.Errorf(t, "log.correlation", "an entry has orderID %v and traceID %v for a body that was cut off: \"\" and \"trace-7f3a\" are right.",
				quote(e.fields["orderID"]), quote(e.fields["traceID"]))
		}
	}
}

func TestReview_DepotThatHasGoneIsNotTheError(t *testing.T) {
	// The depot hangs up while a step fails for a reason of its own.
	for _, s := range []situation{
		{name: "the card was declined as the depot hung up", status: 402, level: zapcore.WarnLevel, reason: "declined", says: "do_not_honor",
			setup: failCharge(&booking.DeclinedError{Code: "do_not_honor"})},
		{name: "the database was down as the depot hung up", status: 500, level: zapcore.ErrorLevel, reason: "internal", says: "disk 7 is full",
			setup: failCharge(errors.New("disk 7 is full"))},
		{name: "the bank was too slow as the depot hung up", status: 504, level: zapcore.ErrorLevel, reason: "timeout", says: "deadline exceeded",
			setup: failCharge(fmt.Errorf("bank: %w", context.DeadlineExceeded))},
	} {
		ctx, hangUp := context.WithCancel(context.WithValue(t.Context(), traceKey{}, "trace-7f3a"))
		defer hangUp()
		d := newDesk(t, func(c *booking.Config) {
			s.setup(c)
			charge := c.Charge
			c.Charge = func(ctx context.Context, r booking.Request) (string, error) {
				hangUp()
				return charge(ctx, r)
			}
		})
		b, err := json.Marshal(order("AMS-1001"))
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/orders", bytes.NewReader(b))
		w := httptest.NewRecorder()
		d.do("ServeHTTP", func() { d.svc.ServeHTTP(w, r) })
		d.checkFailure(s, w.Code, w.Body.String())
	}
}

// checkFailure looks at the answer, and for the one entry that tells of it.
func (d *desk) checkFailure(s situation, status int, body string) {
	d.t.Helper()
	var refusal booking.Refusal
	_ = json.Unmarshal([]byte(body), &refusal)
	if status != s.status || refusal.Reason != s.reason {
		probe.Errorf(d.t, "log.reason", "the depot was answered %d %q and not %d %q, where %s.", status, refusal.Reason, s.status, s.reason, s.name)
	}
	if found := secretsIn(body); len(found) > 0 {
		probe.Errorf(d.t, "log.secret", "the answer holds %s, where %s.", strings.Join(found, ", "), s.name)
	}

	var final []entry
	for _, e := range d.entries() {
		if e.Level >= zapcore.WarnLevel {
			final = append(final, e)
		}
	}
	telling := 0
	for _, line := range d.written.Lines() {
		if s.says != "" && strings.Contains(line, s.says) {
			telling++
		}
	}
	if !probe.Equal(d.t, "entries of level warn and above, where "+s.name, len(final), 1, "entries") || telling > 1 {
		probe.Errorf(d.t, "log.twice", "%d entries are of level warn or above and %d hold the text %q, where %s: one entry tells of one failure.",
			len(final), telling, s.says, s.name)
	}
	if len(final) == 0 {
		return
	}
	e := final[len(final)-1]
	if e.Level != s.level {
		probe.Errorf(d.t, "log.level", "the entry is of level %v and not %v, where %s.", e.Level, s.level, s.name)
	}
	if e.fields["reason"] != s.reason {
		probe.Errorf(d.t, "log.reason", "the field reason is %s and not %q, where %s.", quote(e.fields["reason"]), s.reason, s.name)
	}
	if s.reason == "declined" {
		code := s.says[strings.LastIndex(s.says, " ")+1:]
		if e.fields["code"] != code || refusal.Code != code {
			probe.Errorf(d.t, "log.reason", "the field code is %s and the refusal's code %q, not %q, where %s.", quote(e.fields["code"]), refusal.Code, code, s.name)
		}
	}
	if text, _ := e.fields["error"].(string); text == "" || !strings.Contains(text, s.says) {
		probe.Errorf(d.t, "log.error", "the field error is %s, which does not say %q, where %s.", quote(e.fields["error"]), s.says, s.name)
	}
	if _, ok := e.fields["duration"]; !ok {
		probe.Errorf(d.t, "log.duration", "the entry that tells how it ended has no duration, where %s.", s.name)
	}
}

func TestReview_FailuresHaveConstantMessages(t *testing.T) {
	var messages [2]string
	for i, text := range []string{"no van in Utrecht", "no bicycle in Delft"} {
		d := newDesk(t, failAssign(errors.New(text)))
		d.serve(order(fmt.Sprintf("AMS-%d", 1001+i)), fmt.Sprintf("trace-%d", i))
		for _, e := range d.entries() {
			messages[i] += e.Message + "\n"
		}
	}
	if messages[0] != messages[1] {
		probe.Errorf(t, "log.message", "two orders that failed at the same step gave messages that end in %q and %q: nobody can count them.", tail(messages[0]), tail(messages[1]))
	}
}

func TestReview_BookReturnsItsError(t *testing.T) {
	root := &booking.DeclinedError{Code: "do_not_honor"}
	d := newDesk(t, failCharge(fmt.Errorf("gateway eu-west refused %s: %w", number, errors.Join(root, io.ErrNoProgress))))
	var err error
	d.do("Book", func() { _, err = d.svc.Book(t.Context(), order("AMS-1001")) })
	if err == nil {
		probe.Fatalf(t, "log.chain", "Book returned no error when Charge had failed.")
	}
	got, ok := errors.AsType[*booking.DeclinedError](err)
	if !ok || got != root || !errors.Is(err, io.ErrNoProgress) {
		probe.Errorf(t, "log.chain", "the chain of %q does not hold what Charge returned: no caller can tell a declined card from a fault.", err)
	}
	if found := secretsIn(err.Error()); len(found) > 0 {
		probe.Errorf(t, "log.secret", "the error that Book returns holds %s, and its caller will log it.", strings.Join(found, ", "))
	}
	for _, part := range []string{"gateway eu-west refused", "do_not_honor"} {
		if !strings.Contains(err.Error(), part) {
			probe.Errorf(t, "log.error", "the error that Book returns is %q: it has lost the words %q.", err, part)
		}
	}
	worst := 0
	for _, e := range d.seen.All() {
		if e.Level >= zapcore.WarnLevel || strings.Contains(fmt.Sprint(e.Message, e.ContextMap()), "do_not_honor") {
			worst++
		}
	}
	if !probe.Equal(t, "entries that Book logs of its own error", worst, 0, "entries") {
		probe.Errorf(t, "log.twice", "Book logged its error in %d entries and returned it as well: its caller logs it again.", worst)
	}
	d.checkSecrets("an order that was booked by a call of Book")
}

// verbose prints more with %+v than with %v, as errors with a stack do.
type verbose struct{ short, long string }

func (e *verbose) Error() string { return e.short }
func (e *verbose) Format(f fmt.State, verb rune) {
	if f.Flag('+') {
		io.WriteString(f, e.long)
		return
	}
	io.WriteString(f, e.short)
}

func TestReview_NoSecretInsideErrors(t *testing.T) {
	for _, s := range []struct {
		name  string
		setup func(*booking.Config)
		parts []string
	}{
		{"the gateway quoted the card as it was sent", failCharge(fmt.Errorf("gateway eu-west: card %s: no such account", number)), []string{"gateway eu-west", "no such account"}},
		{"the gateway quoted the card's digits", failCharge(fmt.Errorf("gateway eu-west: card %s: no such account", digits)), []string{"gateway eu-west", "no such account"}},
		{"the gateway quoted the card with dashes", failCharge(fmt.Errorf("gateway eu-west: card 4111-1111-1111-1234: no such account")), []string{"gateway eu-west", "no such account"}},
		{"the gateway quoted the CVC", failCharge(fmt.Errorf("gateway eu-west: cvc %q does not match", cvc)), []string{"gateway eu-west", "does not match"}},
		{"the courier's app quoted the address", failAssign(fmt.Errorf("route to %s for %s: no road", address, recipient)), []string{"route to", "no road"}},
		{"a joined error quoted the card", failCharge(errors.Join(errors.New("gateway eu-west"), fmt.Errorf("refund of %s failed", digits))), []string{"gateway eu-west", "refund of"}},
		{"the bank's code quoted the card", failCharge(fmt.Errorf("bank: %w", &booking.DeclinedError{Code: "no account for " + digits})), []string{"bank", "no account for"}},
		{"an error says more with %+v", failCharge(&verbose{"gateway eu-west", "gateway eu-west, sent " + number + " " + cvc}), []string{"gateway eu-west"}},
	} {
		d := newDesk(t, s.setup)
		_, body := d.serve(order("AMS-1001"), "trace-7f3a")
		d.checkSecrets("an order where " + s.name)
		if found := secretsIn(body); len(found) > 0 {
			probe.Errorf(t, "log.secret", "the answer holds %s, where %s.", strings.Join(found, ", "), s.name)
		}
		d.checkParts(s.name, s.parts)
	}

	// An empty secret is in every text, between any two letters.
	d := newDesk(t, failCharge(errors.New("account 77 of this depot is closed")))
	req := order("AMS-1001")
	req.Card, req.Recipient = booking.Card{}, ""
	d.serve(req, "trace-7f3a")
	d.checkParts("the order had no card", []string{"account 77 of this depot is closed"})
}

// checkParts looks for words that must be left of an error.
func (d *desk) checkParts(where string, parts []string) {
	d.t.Helper()
	var text string
	for _, e := range d.entries() {
		if v, ok := e.fields["error"].(string); ok {
			text = v
		}
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			probe.Errorf(d.t, "log.error", "the field error is %.80q where %s: it has lost the words %q.", text, where, part)
		}
	}
}

func TestReview_NoKeyTwice(t *testing.T) {
	d := newDesk(t, nil)
	for i := range 3 {
		d.serve(order(fmt.Sprintf("AMS-%d", i)), "trace-7f3a")
	}
	twice := 0
	var example string
	for _, line := range d.written.Lines() {
		if key := repeated(line); key != "" {
			twice, example = twice+1, key
		}
	}
	if !probe.Equal(t, "lines with a key twice", twice, 0, "lines") {
		probe.Errorf(t, "log.key_twice", "%d lines of three orders have a key twice, as %s: which of the values a reader of JSON takes is not said.", twice, example)
	}
}

// repeated returns a key that a JSON object has twice, or "".
func repeated(line string) string {
	dec := json.NewDecoder(strings.NewReader(line))
	seen := map[string]bool{}
	if _, err := dec.Token(); err != nil {
		return ""
	}
	for dec.More() {
		tok, err := dec.Token()
		key, ok := tok.(string)
		if err != nil || !ok {
			return ""
		}
		if seen[key] {
			return key
		}
		seen[key] = true
		var v json.RawMessage
		if dec.Decode(&v) != nil {
			return ""
		}
	}
	return ""
}

func TestReview_OrdersAtTheSameTime(t *testing.T) {
	const orders = 8
	var begun sync.WaitGroup
	begun.Add(orders)
	d := newDesk(t, func(c *booking.Config) {
		c.Charge = func(ctx context.Context, r booking.Request) (string, error) {
			begun.Done()
			begun.Wait() // all of them are inside
			return "pay-" + r.ID, nil
		}
	})
	d.do("ServeHTTP for eight orders at once", func() {
		var all sync.WaitGroup
		for i := range orders {
			all.Go(func() {
				id := fmt.Sprintf("AMS-%d", i)
				d.serve(order(id), "trace-"+id)
			})
		}
		all.Wait()
	})
	mixed, of := 0, map[string]int{}
	for _, e := range d.entries() {
		id, _ := e.fields["orderID"].(string)
		if e.fields["traceID"] != "trace-"+id {
			mixed++
		}
		if _, ok := e.fields["duration"]; ok {
			of[id]++
		}
	}
	if !probe.Equal(t, "entries with another order's trace", mixed, 0, "entries") || len(of) != orders {
		probe.Errorf(t, "log.mixed", "of %d orders at the same time %d have an entry that says how it ended, and %d entries name one order and the trace of another.",
			orders, len(of), mixed)
	}
}

func TestReview_LoggerThatCannotBeBuilt(t *testing.T) {
	// In a process of its own: a nil logger that is made the global one panics
	// while zap holds its lock, and every later use of it hangs.
	for _, situation := range []string{"an output in a folder that does not exist", "an output with an unknown scheme", "no outputs", "no level"} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		p := probe.Start(t, "build", "PITSTOP_SITUATION="+situation, "PITSTOP_DIR="+t.TempDir())
		got, err := p.Line(ctx, "NewLogger: ")
		if err != nil {
			got = fmt.Sprintf("did not come back (%v)", err)
		}
		if got != "an error and no logger" {
			probe.Errorf(t, "log.build", "given %s, NewLogger %s. It must return an error and no logger, so that main can stop.", situation, got)
		}
	}
}

// build is a program of its own: it calls NewLogger with a Config that gives no
// logger, and says what came of it.
func build() int {
	level := zap.NewAtomicLevel()
	cfg := map[string]booking.LogConfig{
		"an output in a folder that does not exist": {Level: level, Outputs: []string{filepath.Join(os.Getenv("PITSTOP_DIR"), "none", "dispatchd.log")}},
		"an output with an unknown scheme":          {Level: level, Outputs: []string{"stderr", "carrier-pigeon://roof"}},
		"no outputs":                                {Level: level},
		"no level":                                  {Outputs: []string{"stderr"}},
	}[os.Getenv("PITSTOP_SITUATION")]
	say := "an error and no logger"
	func() {
		defer func() {
			if v := recover(); v != nil {
				say = fmt.Sprintf("panicked with %q", fmt.Sprint(v))
			}
		}()
		switch logger, err := booking.NewLogger(cfg); {
		case err == nil && logger == nil:
			say = "returned a nil logger and no error"
		case err == nil:
			say = "returned a logger and no error"
		case logger != nil:
			say = fmt.Sprintf("returned a logger and the error %q", err)
		}
	}()
	fmt.Fprintf(os.Stdout, "\nNewLogger: %s\n", say)
	return 0
}

func TestReview_EveryEntryIsWritten(t *testing.T) {
	const orders = 300
	file, level := filepath.Join(t.TempDir(), "dispatchd.log"), zap.NewAtomicLevel()
	logger := newLogger(t, file, level)
	for i := range orders {
		logger.Info("order booked", zap.Int("orderID", i))
	}
	if n := len(readLines(t, file)); !probe.Equal(t, "lines of 300 entries with the same message", n, orders, "lines") {
		probe.Errorf(t, "log.sampled", "%d entries with the same message gave %d lines: the orders of the others are nowhere.", orders, n)
	}
}

func TestReview_LevelChangesAtRunTime(t *testing.T) {
	file, level := filepath.Join(t.TempDir(), "dispatchd.log"), zap.NewAtomicLevelAt(zap.WarnLevel)
	logger := newLogger(t, file, level)
	child := logger.With(zap.String("traceID", "trace-7f3a"))

	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for range 50 {
				child.Debug("storm")
			}
		})
	}
	all.Go(func() {
		for range 50 {
			level.SetLevel(zap.ErrorLevel)
			level.SetLevel(zap.WarnLevel)
		}
	})
	all.Wait()

	child.Info("quiet before")
	level.SetLevel(zap.DebugLevel)
	child.Debug("loud")
	level.SetLevel(zap.ErrorLevel)
	child.Warn("quiet after")
	child.Error("fault")

	var got []string
	for _, line := range readLines(t, file) {
		got = append(got, fmt.Sprint(parse(line)["msg"]))
	}
	if want := "loud fault"; strings.Join(got, " ") != want {
		probe.Errorf(t, "log.switch", "the log holds %q where the level was turned to debug for \"loud\" and to error for \"fault\": the logger does not follow its Level.", got)
	}
}

func newLogger(t *testing.T, file string, level zap.AtomicLevel) *zap.Logger {
	t.Helper()
	logger, err := booking.NewLogger(booking.LogConfig{Level: level, Outputs: []string{file}})
	if err != nil || logger == nil {
		probe.Fatalf(t, "log.build", "NewLogger returned %v and the error %v for a file that can be written.", logger, err)
	}
	return logger
}
