//go:build review

package switches_test

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pitstop/checker/probe"
	switches "pitstop/lessons/16_debug_switches"
)

func TestReview_ParseNamesEveryUnknownValue(t *testing.T) {
	checkUnknown(t, map[string]string{"DEBUG_LEVEL": "loud", "LOG_HTTP_REQUESTS": "maybe", "ENABLE_PPROF": "of course"})
	checkUnknown(t, map[string]string{"LOG_HTTP_REQUESTS": "nope", "ENABLE_PPROF": "6060"})
	checkUnknown(t, map[string]string{"DEBUG_LEVEL": "loud", "ENABLE_PPROF": "yep"})
	for _, level := range []string{"info+2", "debug-1", "warning", "err", "fatal", "off", "0", "-4", "true", "debug,trace", "informational", "tracer"} {
		checkUnknown(t, map[string]string{"DEBUG_LEVEL": level})
	}
	for _, key := range []string{"LOG_HTTP_REQUESTS", "ENABLE_PPROF"} {
		for _, value := range []string{"on", "off", "yes", "no", "2", "enabled", "debug"} {
			checkUnknown(t, map[string]string{key: value})
		}
	}
	// One bad value does not hide behind a good one, nor make it wrong.
	_, err := switches.Parse(lookup(map[string]string{"DEBUG_LEVEL": "debug", "ENABLE_PPROF": "nope"}))
	if err == nil || strings.Contains(err.Error(), "DEBUG_LEVEL") {
		probe.Errorf(t, "switch.unnamed", "the error for a good DEBUG_LEVEL and ENABLE_PPROF=nope is %v.", err)
	}
}

func TestReview_ParseKnowsAllForms(t *testing.T) {
	for _, off := range []string{"", "0", "f", "F", "false", "False", "FALSE"} {
		checkParse(t, map[string]string{"DEBUG_LEVEL": "", "LOG_HTTP_REQUESTS": off, "ENABLE_PPROF": off}, switches.Config{})
	}
	for _, on := range []string{"1", "t", "T", "true", "True", "TRUE"} {
		checkParse(t, map[string]string{"LOG_HTTP_REQUESTS": on}, switches.Config{LogRequests: true})
		checkParse(t, map[string]string{"ENABLE_PPROF": on}, switches.Config{Pprof: true})
	}
	for word, want := range map[string]slog.Level{
		"TRACE": switches.LevelTrace, "Trace": switches.LevelTrace, "dEbUg": slog.LevelDebug, "INFO": slog.LevelInfo,
		"Warn": slog.LevelWarn, "error": slog.LevelError,
	} {
		checkParse(t, map[string]string{"DEBUG_LEVEL": word}, switches.Config{Level: want})
	}
	if switches.LevelTrace >= slog.LevelDebug {
		probe.Errorf(t, "switch.parsed", "LevelTrace is %v, which is not below debug.", switches.LevelTrace)
	}
}

func TestReview_EnvironmentIsReadThroughLookupOnly(t *testing.T) {
	t.Setenv("DEBUG_LEVEL", "error")
	t.Setenv("LOG_HTTP_REQUESTS", "no way")
	t.Setenv("ENABLE_PPROF", "true")
	got, err := switches.Parse(lookup(nil))
	if err != nil || got != (switches.Config{}) {
		probe.Errorf(t, "switch.environment", "Parse gives %+v and %v where lookup knows no variable: it asks the process's environment.", got, err)
	}
	v := switches.NewVerbosity(slog.LevelWarn)
	v.Turn(slog.LevelDebug, time.Hour)
	if l := v.Level(); l != slog.LevelDebug {
		probe.Errorf(t, "switch.environment", "the level is %v when it was turned to debug, in an environment with DEBUG_LEVEL=error.", l)
	}
	v.Back()
	checkEntry(t, "GET", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }, 200, 2)
}

func TestReview_TurnsDoNotDisturbEachOther(t *testing.T) {
	const info, debug, trace = slog.LevelInfo, slog.LevelDebug, switches.LevelTrace
	for name, f := range map[string]func(t *testing.T, v *switches.Verbosity){
		"a short one replaces a long one": func(t *testing.T, v *switches.Verbosity) {
			v.Turn(debug, time.Hour)
			v.Turn(trace, time.Minute)
			time.Sleep(2 * time.Minute)
			checkLevel(t, v, info, "2m after a turn of 1m replaced one of 1h")
			time.Sleep(2 * time.Hour)
			checkLevel(t, v, info, "hours later")
		},
		"a long one replaces a short one": func(t *testing.T, v *switches.Verbosity) {
			v.Turn(debug, time.Minute)
			v.Turn(trace, time.Hour)
			time.Sleep(2 * time.Minute)
			checkLevel(t, v, trace, "2m after a turn of 1h replaced one of 1m")
			time.Sleep(time.Hour)
			checkLevel(t, v, info, "after that hour")
		},
		"back is at once": func(t *testing.T, v *switches.Verbosity) {
			v.Back()
			checkLevel(t, v, info, "at base, after Back")
			v.Turn(trace, time.Hour)
			v.Back()
			checkLevel(t, v, info, "after Back, with an hour to go")
			v.Back()
			checkLevel(t, v, info, "after Back twice")
		},
		"an old end does not end a new turn": func(t *testing.T, v *switches.Verbosity) {
			v.Turn(debug, 10*time.Minute)
			time.Sleep(5 * time.Minute)
			v.Back()
			v.Turn(trace, 10*time.Minute)
			time.Sleep(6 * time.Minute)
			checkLevel(t, v, trace, "6m into a turn of 10m; an earlier one, ended by Back, would be over")
			time.Sleep(5 * time.Minute)
			checkLevel(t, v, info, "after 11m of 10m")
		},
		"the same level again starts anew": func(t *testing.T, v *switches.Verbosity) {
			v.Turn(debug, 10*time.Minute)
			time.Sleep(9 * time.Minute)
			v.Turn(debug, 10*time.Minute)
			time.Sleep(9 * time.Minute)
			checkLevel(t, v, debug, "9m into a second turn of 10m")
			time.Sleep(2 * time.Minute)
			checkLevel(t, v, info, "after 11m of 10m")
		},
		"no time is no turn": func(t *testing.T, v *switches.Verbosity) {
			for _, d := range []time.Duration{0, -time.Second} {
				v.Turn(debug, d)
				time.Sleep(time.Nanosecond)
				checkLevel(t, v, info, fmt.Sprintf("turned for %v", d))
				v.Turn(debug, time.Hour)
				v.Turn(trace, d)
				time.Sleep(time.Nanosecond)
				checkLevel(t, v, info, fmt.Sprintf("turned for an hour, then for %v", d))
			}
		},
		"a turn at the end of another": func(t *testing.T, v *switches.Verbosity) {
			// In fake time both come at the same instant, in either order; the
			// old end has come first in half of the tries.
			for range 200 {
				v.Turn(debug, time.Minute)
				time.Sleep(time.Minute)
				v.Turn(trace, time.Minute)
				synctest.Wait()
				if l := v.Level(); l != trace {
					probe.Errorf(t, "level.stuck", "the level is %v, turned to trace at the instant at which the turn before was over: the old end has ended the new turn.", l)
					return
				}
				v.Back()
			}
		},
		"quieter, too": func(t *testing.T, v *switches.Verbosity) {
			v.Turn(slog.LevelError, time.Minute)
			checkLevel(t, v, slog.LevelError, "turned to error")
			time.Sleep(2 * time.Minute)
			checkLevel(t, v, info, "2m after a turn of 1m to error")
		},
		"a turn without an end": func(t *testing.T, v *switches.Verbosity) {
			v.Turn(debug, math.MaxInt64)
			time.Sleep(time.Hour)
			checkLevel(t, v, debug, "1h after a turn for the longest time there is")
			v.Back()
			checkLevel(t, v, info, "after Back")
		},
		"a logger follows": func(t *testing.T, v *switches.Verbosity) {
			var out bytes.Buffer
			logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: v}))
			logger.Debug("before")
			v.Turn(debug, time.Minute)
			logger.Debug("during")
			time.Sleep(2 * time.Minute)
			logger.Debug("after")
			if s := out.String(); strings.Contains(s, "before") || !strings.Contains(s, "during") || strings.Contains(s, "after") {
				probe.Errorf(t, "level.stuck", "a logger with this level logged at debug before, during and after a turn to debug: %q.", s)
			}
		},
		"one does not turn another": func(t *testing.T, v *switches.Verbosity) {
			other := switches.NewVerbosity(slog.LevelError)
			v.Turn(debug, time.Minute)
			checkLevel(t, other, slog.LevelError, "in a Verbosity that nobody turned")
			other.Turn(trace, time.Hour)
			time.Sleep(2 * time.Minute)
			checkLevel(t, v, info, "2m after a turn of 1m, with another Verbosity turned")
			checkLevel(t, other, trace, "2m after a turn of 1h")
			other.Back()
			checkLevel(t, other, slog.LevelError, "after Back, with base error")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) { f(t, switches.NewVerbosity(info)) })
		})
	}
}

func TestReview_VerbosityFromManyGoroutines(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := switches.NewVerbosity(slog.LevelWarn)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for j := range 50 {
					v.Turn(slog.LevelDebug, time.Duration(1+(i+j)%7)*time.Second)
					if l := v.Level(); l != slog.LevelDebug && l != slog.LevelWarn {
						probe.Errorf(t, "level.stuck", "the level is %v; nobody has set that.", l)
					}
					if j%5 == 0 {
						v.Back()
					}
					time.Sleep(time.Second)
				}
			})
		}
		all.Wait()
		time.Sleep(time.Minute)
		checkLevel(t, v, slog.LevelWarn, "a minute after the last of 400 turns of a few seconds")
	})
}

func TestReview_StatusIsWhatTheClientGot(t *testing.T) {
	text := func(w http.ResponseWriter, status int, body string) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
	for _, c := range []struct {
		name         string
		method       string
		handler      http.HandlerFunc
		status, size int
	}{
		{"says nothing", "", func(http.ResponseWriter, *http.Request) {}, 200, 0},
		{"header set, no body", "", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(202) }, 202, 0},
		{"status twice", "", func(w http.ResponseWriter, r *http.Request) { text(w, 201, "booked"); w.WriteHeader(500) }, 201, 6},
		{"status after the body", "", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok"); w.WriteHeader(503) }, 200, 2},
		{"early hints first", "", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(103); text(w, 404, "none") }, 404, 4},
		{"early hints, then a body", "", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(103); io.WriteString(w, "ok") }, 200, 2},
		{"no content, written to", "", func(w http.ResponseWriter, r *http.Request) { text(w, 204, "not sent") }, 204, 0},
		{"in pieces", "", func(w http.ResponseWriter, r *http.Request) {
			for range 100 {
				fmt.Fprint(w, "0123456789")
			}
		}, 200, 1000},
		{"copied", "", func(w http.ResponseWriter, r *http.Request) {
			io.Copy(w, io.LimitReader(strings.NewReader(strings.Repeat("x", 1<<17)), 1<<16))
		}, 200, 1 << 16},
		{"copied, then a status", "", func(w http.ResponseWriter, r *http.Request) {
			io.Copy(w, io.LimitReader(strings.NewReader("half a label"), 4))
			w.WriteHeader(502)
		}, 200, 4},
		{"switching protocols", "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			w.WriteHeader(101)
		}, 101, 0},
		{"an error", "", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "gone", 410) }, 410, 5},
		{"a file", "", func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "label.txt", time.Time{}, strings.NewReader("PK00042"))
		}, 200, 7},
		{"flushed before it is written", "", func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).Flush()
			text(w, 500, "too late")
		}, 200, 8},
		{"HEAD", "HEAD", func(w http.ResponseWriter, r *http.Request) { text(w, 404, "") }, 404, 0},
		{"POST", "POST", func(w http.ResponseWriter, r *http.Request) { text(w, 409, "twice") }, 409, 5},
	} {
		t.Run(c.name, func(t *testing.T) { checkEntry(t, cmp.Or(c.method, "GET"), c.handler, c.status, c.size) })
	}
}

func TestReview_ControllerWorks(t *testing.T) {
	errs := make(chan error, 1)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		errs <- errors.Join(
			rc.SetReadDeadline(time.Now().Add(time.Hour)),
			rc.SetWriteDeadline(time.Now().Add(time.Hour)),
			rc.EnableFullDuplex(),
			rc.Flush())
	})
	s.get("/push", nil)
	if err := <-errs; err != nil {
		probe.Errorf(t, "requests.controller", "deadlines, full duplex and Flush through an http.ResponseController give %q under LogRequests.", err)
	}
}

func TestReview_HijackWorks(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			probe.Errorf(t, "requests.hijack", "Hijack through an http.ResponseController gives %q under LogRequests.", err)
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: scanner\r\n\r\n")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		rw.WriteString("got " + line)
		rw.Flush()
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, "GET /scanner HTTP/1.1\r\nHost: dispatchd\r\nConnection: Upgrade\r\nUpgrade: scanner\r\n\r\n")
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		probe.Fatalf(t, "requests.hijack", "a handler that takes the connection over did not get to answer under LogRequests: %v, error %v.", res, err)
	}
	io.WriteString(conn, "parcel 42\n")
	if line, _ := in.ReadString('\n'); line != "got parcel 42\n" {
		probe.Errorf(t, "requests.hijack", "over a connection that was taken over came %q.", line)
	}
	checkOne(t, s.log, "GET", "/scanner", 0, 0)
}

func TestReview_HijackThatFailsIsNoTakeover(t *testing.T) {
	// HTTP/2 has no connection to give away. A handler that is refused answers
	// in the ordinary way.
	refused := make(chan error, 1)
	out := &buffer{}
	s := httptest.NewUnstartedServer(switches.LogRequests(slog.New(slog.NewJSONHandler(out, nil)), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _, err := http.NewResponseController(w).Hijack()
		refused <- err
		http.Error(w, "none", http.StatusNotImplemented)
	})))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	client := s.Client()
	client.Timeout = 2 * patience
	res, err := client.Get(s.URL + "/scanner")
	if err != nil {
		probe.Fatalf(t, "requests.hijack", "a handler tried to take over a connection of HTTP/2 and then to answer; under LogRequests the client got no answer: %v.", err)
	}
	res.Body.Close()
	select {
	case err = <-refused:
	default: // the handler did not come back from Hijack
	}
	if !errors.Is(err, http.ErrNotSupported) {
		probe.Errorf(t, "requests.hijack", "Hijack over %s gives error %v under LogRequests, not http.ErrNotSupported.", res.Proto, err)
	}
	checkOne(t, out, "GET", "/scanner", 501, 5)
}

func TestReview_PanicGoesOnAndIsLogged(t *testing.T) {
	for name, c := range map[string]struct {
		handler func(http.ResponseWriter)
		status  int
	}{
		"before it answers": {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, 0},
		"after its answer": {func(w http.ResponseWriter) {
			w.WriteHeader(202)
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, 202},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, r *http.Request) { c.handler(w) })
			res, err := s.http.Get(s.url + "/orders/42")
			if err == nil {
				_, err = io.ReadAll(res.Body)
				res.Body.Close()
			}
			if err == nil {
				probe.Errorf(t, "requests.panic", "a handler panicked with http.ErrAbortHandler, and the client got a whole answer with status %d: the panic did not go on.", res.StatusCode)
			}
			s.log.entries(t, 0)
			deadline := time.Now().Add(patience / 3)
			for s.log.String() == "" && time.Now().Before(deadline) {
				time.Sleep(time.Millisecond)
			}
			all := s.log.entries(t, 0)
			if len(all) != 1 {
				probe.Fatalf(t, "requests.panic", "%d entries for a request whose handler panicked: the one that matters most.", len(all))
			}
			if e := all[0]; e.Status == nil || *e.Status != c.status {
				probe.Errorf(t, "requests.status", "a handler panicked %s, and the entry says status %s; the client got %d (0: nothing).", name, show(e.Status), c.status)
			}
		})
	}
}

func TestReview_NothingSecretAtAnyLevel(t *testing.T) {
	t.Setenv("DEBUG_LEVEL", "trace")
	t.Setenv("LOG_HTTP_REQUESTS", "true")
	got := make(chan string, 1)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		got <- r.Form.Get("card")
		w.Header().Set("Set-Cookie", "session=k3y-in-a-set-cookie")
		w.Header().Set("Location", "/orders/42?signature=k3y-in-a-location")
		w.WriteHeader(303)
		io.WriteString(w, "k3y-in-an-answer")
	})
	s.send("POST", "/orders/42?token=k3y-in-a-query", http.Header{
		"Authorization":       {"Basic k3y-in-authorization"},
		"Proxy-Authorization": {"Basic k3y-in-proxy"},
		"Cookie":              {"session=k3y-in-a-cookie"},
		"X-Api-Key":           {"k3y-in-api-key"},
		"X-Depot-Token":       {"k3y-in-own-header"},
		"Referer":             {"https://depot/?token=k3y-in-referer"},
		"User-Agent":          {"k3y-in-agent"},
		"Content-Type":        {"application/x-www-form-urlencoded"},
	}, strings.NewReader("card=k3y-in-a-body"))
	if card := <-got; card != "k3y-in-a-body" {
		probe.Errorf(t, "requests.body", "the handler read %q from the body under LogRequests.", card)
	}
	checkOne(t, s.log, "POST", "/orders/42", 303, 16)
	if strings.Contains(s.log.String(), "k3y") {
		checkNoSecret(t, s.log, "k3y-in-a-query", "k3y-in-authorization", "k3y-in-proxy", "k3y-in-a-cookie", "k3y-in-api-key", "k3y-in-own-header",
			"k3y-in-referer", "k3y-in-agent", "k3y-in-a-body", "k3y-in-a-set-cookie", "k3y-in-a-location", "k3y-in-an-answer")
	}
}

func TestReview_BodyIsNotReadAhead(t *testing.T) {
	began := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(began)
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	})
	r, w := io.Pipe()
	go func() {
		io.WriteString(w, "order 1\n")
		select {
		case <-began:
			io.WriteString(w, "order 2\n")
		case <-time.After(patience / 2):
			probe.Errorf(t, "requests.body", "the handler had not begun %v after the first of two records was sent: the body is read ahead.", patience/2)
		}
		w.Close()
	}()
	res := s.send("POST", "/intake", nil, r)
	if b, _ := io.ReadAll(res.Body); !t.Failed() && string(b) != "16" {
		probe.Errorf(t, "requests.body", "the handler read %s of 16 bytes under LogRequests.", b)
	}
}

func TestReview_EntryIsInfoAndTakesItsTime(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { time.Sleep(20 * time.Millisecond) })
	s.get("/slow", nil)
	e := s.log.entries(t, 1)[0]
	if e.Level != "INFO" {
		probe.Errorf(t, "requests.level", "the entry is at level %s, not INFO.", e.Level)
	}
	if e.Took == nil || time.Duration(*e.Took) < 20*time.Millisecond || time.Duration(*e.Took) > time.Minute {
		probe.Errorf(t, "requests.took", "a handler slept 20ms; its entry says took %s, in nanoseconds.", show(e.Took))
	}
}

func TestReview_RequestsSideBySide(t *testing.T) {
	const n = 16
	var together sync.WaitGroup
	together.Add(n)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var i int
		fmt.Sscanf(r.URL.Path, "/orders/%d", &i)
		together.Done()
		together.Wait()
		w.WriteHeader(400 + i)
		io.WriteString(w, strings.Repeat("x", i))
	})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if res, err := s.http.Get(fmt.Sprintf("%s/orders/%d", s.url, i)); err == nil {
				res.Body.Close()
			}
		})
	}
	all.Wait()
	seen := map[string]bool{}
	for _, e := range s.log.entries(t, n) {
		seen[e.Path] = true
		if e.Status == nil || e.Size == nil || *e.Status != 400+*e.Size || e.Path != fmt.Sprintf("/orders/%d", *e.Size) {
			probe.Errorf(t, "requests.mixed", "of %d requests at once, one entry says %s, status %s, size %s: they are from different requests.", n, e.Path, show(e.Status), show(e.Size))
		}
	}
	if !probe.Equal(t, "requests at once in the log", len(seen), n, "requests") {
		probe.Errorf(t, "requests.entries", "%d of %d requests that ran at once are in the log.", len(seen), n)
	}
}
