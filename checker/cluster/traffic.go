package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// depot is a pod of the DaemonSet outside dispatchd's namespace, one on each
// node.
type depot struct{ pod, node, ip string }

func (s *Session) depots(ctx context.Context) ([]depot, error) {
	pods, err := read[corev1.PodList](ctx, s, "--namespace", "depots", "pods", "--selector", "app=depot")
	if err != nil {
		return nil, err
	}
	var all []depot
	for _, p := range pods.Items {
		if ready(&p) && p.DeletionTimestamp == nil {
			all = append(all, depot{p.Name, p.Spec.NodeName, p.Status.PodIP})
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no depot is ready in namespace depots; run `make kind-deploy`")
	}
	slices.SortFunc(all, func(a, b depot) int { return strings.Compare(a.node, b.node) })
	return all, nil
}

// at runs a command of the outside program in a depot.
func (s *Session) at(ctx context.Context, d depot, args ...string) (string, error) {
	return s.kubectl(ctx, append([]string{"--namespace", "depots", "exec", d.pod, "--", "/outside"}, args...)...)
}

// answer is one line that outside get and outside watch print.
type answer struct {
	URL     string  `json:"url"`
	At      float64 `json:"at"`
	Status  int     `json:"status"`
	Error   string  `json:"error"`
	Body    string  `json:"body"`
	PID     int     `json:"pid"` // of a process, in the place of an answer
	Command string  `json:"command"`
}

func (a answer) String() string {
	switch {
	case a.Status == 0:
		return "no answer: " + a.Error
	case strings.HasPrefix(a.URL, "tcp:"):
		return "connected"
	}
	return fmt.Sprint(a.Status)
}

func answers(out string) ([]answer, error) {
	var all []answer
	for line := range strings.Lines(out) {
		var a answer
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			return nil, fmt.Errorf("outside said %q: %w", line, err)
		}
		all = append(all, a)
	}
	return all, nil
}

// ask asks URLs from a depot, once each.
func (s *Session) ask(ctx context.Context, d depot, urls ...string) ([]answer, error) {
	out, err := s.at(ctx, d, append([]string{"get"}, urls...)...)
	if err != nil {
		return nil, err
	}
	all, err := answers(out)
	if err == nil && len(all) != len(urls) {
		err = fmt.Errorf("outside get: %d answers to %d questions", len(all), len(urls))
	}
	return all, err
}

// report is what outside load saw.
type report struct {
	Type     string         `json:"type"`
	Requests int            `json:"requests"`
	Failed   int            `json:"failed"`
	Failures map[string]int `json:"failures"`
	Statuses map[string]int `json:"statuses"`
	Seconds  float64        `json:"seconds"`
	P50      float64        `json:"p50_ms"`
	P99      float64        `json:"p99_ms"`
	Max      float64        `json:"max_ms"`
	Slow     int            `json:"slow"`    // that took more than a second
	Late     int            `json:"late"`    // of the failed: 503 or 504 after more than a second
	Which    string         `json:"slowest"` // and when it was answered
	First    string         `json:"first_failure"`
	Last     string         `json:"last_failure"`
}

// add counts another report in: the times are the worse of both.
func (t *report) add(o report) {
	t.Requests += o.Requests
	t.Failed += o.Failed
	if t.Failures == nil {
		t.Failures, t.Statuses = map[string]int{}, map[string]int{}
	}
	for status, n := range o.Statuses {
		t.Statuses[status] += n
	}
	for what, n := range o.Failures {
		t.Failures[what] += n
	}
	t.Slow += o.Slow
	t.Late += o.Late
	if o.Max > t.Max {
		t.Max, t.Which = o.Max, o.Which
	}
	t.Seconds = max(t.Seconds, o.Seconds)
	t.P50, t.P99 = max(t.P50, o.P50), max(t.P99, o.P99)
	if o.First != "" && (t.First == "" || o.First < t.First) {
		t.First = o.First
	}
	t.Last = max(t.Last, o.Last)
}

// failures lists what failed, the most frequent first.
func (t report) failures() string {
	kinds := slices.SortedFunc(maps.Keys(t.Failures), func(a, b string) int {
		if d := t.Failures[b] - t.Failures[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for i, k := range kinds {
		kinds[i] = fmt.Sprintf("%d× %s", t.Failures[k], k)
	}
	return list(kinds, 4)
}

// span is the time from the first failure to the last one.
func (t report) span() time.Duration {
	const form = "15:04:05.000"
	first, err := time.Parse(form, t.First)
	last, err2 := time.Parse(form, t.Last)
	if err != nil || err2 != nil {
		return 0
	}
	return (last.Sub(first) + 24*time.Hour) % (24 * time.Hour) // over midnight
}

// codeFailed is the finding of requests that failed.
const codeFailed = "load.failed"

// late reports whether whatever failed was answered, with 503 or 504, after a
// second or more: the service had waited for something as long as it may. That
// is how a machine with too much to do looks. A rollout that goes wrong refuses,
// cuts off, leaves hanging, or says no at once.
func (t report) late() bool { return t.Failed > 0 && t.Late == t.Failed }

// traffic is load that goes on until it is stopped, from every depot.
type traffic struct {
	from []*source
}

type source struct {
	depot
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	err   *strings.Builder
}

// loadLimit ends a load that nobody stops.
const loadLimit = 10 * time.Minute

// traffic starts load on the Service from the depots, and returns once each
// has begun.
func (s *Session) traffic(ctx context.Context, depots []depot) (*traffic, error) {
	t := &traffic{}
	for _, d := range depots {
		cmd := s.command(ctx, "kubectl", s.onCluster([]string{"--namespace", "depots", "exec", "--stdin", d.pod, "--", "/outside", "load",
			"-url", s.service.url(), "-rate", fmt.Sprint(s.Rate), "-for", loadLimit.String(), "-until-eof"})...)
		src := &source{depot: d, cmd: cmd, err: &strings.Builder{}}
		cmd.Stderr = src.err
		in, err := cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		src.in, src.lines = in, bufio.NewScanner(out)
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		t.from = append(t.from, src)
	}
	for _, src := range t.from {
		if !src.lines.Scan() {
			_ = src.cmd.Wait()
			_, _ = t.stop()
			return nil, fmt.Errorf("load from %s did not begin: %s", src.node, strings.TrimSpace(src.err.String()))
		}
	}
	return t, nil
}

// stop ends the load and adds up what was seen.
func (t *traffic) stop() (report, error) {
	var all report
	var lost error
	for _, src := range t.from {
		src.in.Close()
	}
	for _, src := range t.from {
		last := ""
		for src.lines.Scan() {
			last = src.lines.Text()
		}
		err := src.cmd.Wait()
		var r report
		if e := json.Unmarshal([]byte(last), &r); e != nil || r.Type != "load" {
			lost = fmt.Errorf("the load from %s was lost: %w %s", src.node, errors.Join(err, e), strings.TrimSpace(src.err.String()))
			continue
		}
		all.add(r)
	}
	return all, lost
}

// accepted is the status of an event that was taken: a promise, since nobody
// waits for what becomes of it. Nothing else is answered so.
const accepted = "202"

// stored asks the world how many notices of events it has been given.
func (s *Session) stored(ctx context.Context, d depot) (int, error) {
	a, err := s.ask(ctx, d, database+"/counts")
	if err != nil {
		return 0, err
	}
	var counts map[string]struct{ Began int }
	if err := json.Unmarshal([]byte(a[0].Body), &counts); err != nil {
		return 0, fmt.Errorf("the world's counts: %s: %w", a[0], err)
	}
	return counts["notice"].Began, nil
}

// under does something under load, and records what the load saw from a
// little before until a little after. Where none may fail, it finds what did,
// and what was taken with 202 and forgotten.
func (s *Session) under(ctx context.Context, r *Record, what string, depots []depot, none bool, do func() error) error {
	before, err := s.stored(ctx, depots[0])
	if err != nil {
		return err
	}
	t, err := s.traffic(ctx, depots)
	if err != nil {
		return err
	}
	r.Say("%d requests a second from each of %d nodes", s.Rate, len(depots))
	err = pause(ctx, 3*time.Second)
	if err == nil {
		err = do()
	}
	if err == nil {
		err = pause(ctx, 3*time.Second)
	}
	seen, lost := t.stop()
	if err != nil {
		return err
	}
	if lost != nil {
		return lost
	}
	if seen.Requests == 0 {
		return errors.New("the load made no request")
	}
	r.Note("requests", float64(seen.Requests), "")
	if !none {
		r.Note("failed", float64(seen.Failed), "")
		if seen.Failed > 0 {
			r.Note("from the first failure to the last", seen.span().Seconds(), "s")
			r.Say("%d failed: %s; from %s to %s (UTC)", seen.Failed, seen.failures(), seen.First, seen.Last)
		}
	} else if !r.Equal("failed", float64(seen.Failed), 0, "") {
		r.late = seen.late()
		r.Find(codeFailed, "%d of %d requests failed %s: %s; the first at %s, the last at %s (UTC).", seen.Failed, seen.Requests, what, seen.failures(), seen.First, seen.Last)
	}
	if err := s.kept(ctx, r, what, depots[0], seen.Statuses[accepted], before, none); err != nil {
		return err
	}
	r.Note("p50, of the slowest depot", seen.P50, "ms")
	r.Note("p99, of the slowest depot", seen.P99, "ms")
	if seen.Slow > 0 {
		r.Say("%d took more than a second, the slowest %.1f s: %s (UTC)", seen.Slow, seen.Max/1000, seen.Which)
	}
	return nil
}

// kept compares how many events were taken with how many notices of them the
// world was given since before.
func (s *Session) kept(ctx context.Context, r *Record, what string, d depot, taken, before int, none bool) error {
	missing := taken
	err := poll(ctx, 15*time.Second, func() (bool, error) {
		now, err := s.stored(ctx, d)
		missing = max(0, taken-(now-before))
		return err == nil && missing == 0, err
	})
	if ctx.Err() != nil {
		return err
	}
	r.Note("events taken with 202", float64(taken), "")
	if !none {
		r.Note("of these never stored", float64(missing), "")
	} else if !r.Equal("of these never stored", float64(missing), 0, "") {
		r.Find("load.lost", "%d of %d events that were answered with 202 %s were never stored. What was taken must be worked off after the last request has ended: `make check` shows it in lesson 24 as wiring.events.", missing, taken, what)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
