package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"pitstop/checker/verdict"
)

// Event is one line of a command's stream: for each step a start, any number
// of progress lines and its end, and one summary at last.
type Event struct {
	Type    EventType `json:"type"`
	Command string    `json:"command"`
	Step    string    `json:"step,omitempty"`
	Message string    `json:"message,omitempty"`
	*verdict.Verdict
	*Summary
}

// EventType names the kinds of event.
type EventType string

const (
	Start    EventType = "start"    // a step begins; the message says what it does
	Progress EventType = "progress" // what is being done now
	Ended    EventType = "step"     // the end of a step
	Summed   EventType = "summary"  // the end of the command
)

// Summary counts the steps of a command.
type Summary struct {
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
	Errors  int `json:"errors"`
}

// Step is one thing that a command does.
type Step struct {
	Name  string
	About string // what it does, in a line
	run   func(*Session, context.Context, *Record) error
	basis bool // the steps after it need it
}

// Commands are the lists of steps, by name.
var Commands = map[string][]Step{
	"image":  imageSteps,
	"up":     upSteps,
	"deploy": deploySteps,
	"verify": verifySteps,
	"down":   downSteps,
}

// Needs are the tools that a command cannot do without.
var Needs = map[string][]string{
	"image":  {"docker"},
	"up":     {"docker", "kind", "kubectl"},
	"deploy": {"docker", "kind", "kubectl"},
	"verify": {"docker", "kind", "kubectl"},
	"down":   {"docker", "kind"},
}

// Builds tells the commands that need the go command.
var Builds = map[string]bool{"image": true, "deploy": true, "verify": true}

// Run runs a command's steps one after the other. Where a tool is missing
// nothing is done: each is a step that was skipped, and says how to get it.
// A step whose basis did not hold is skipped. The outcome is the worst of the
// steps', and skip where every one was skipped.
func (s *Session) Run(ctx context.Context, command string) verdict.Outcome {
	begin := time.Now()
	var sum Summary
	end := func(step string, v verdict.Verdict) {
		switch v.Outcome {
		case verdict.Pass:
			sum.Passed++
		case verdict.Fail:
			sum.Failed++
		case verdict.Skip:
			sum.Skipped++
		case verdict.Error:
			sum.Errors++
		}
		s.Emit(Event{Type: Ended, Command: command, Step: step, Verdict: &v})
	}
	if lacks := Missing(ctx, Needs[command]...); len(lacks) > 0 {
		for _, l := range lacks {
			end(l.Tool, skipped("tool.missing", l.String()))
		}
	} else {
		broken := ""
		for _, step := range Commands[command] {
			if len(s.Only) > 0 && !step.basis && !slices.Contains(s.Only, step.Name) {
				continue
			}
			if broken != "" {
				end(step.Name, skipped("step.basis", fmt.Sprintf("step %s did not hold, and this one needs it", broken)))
				continue
			}
			s.Emit(Event{Type: Start, Command: command, Step: step.Name, Message: step.About})
			v := s.do(ctx, command, step)
			end(step.Name, v)
			if step.basis && v.Outcome != verdict.Pass {
				broken = step.Name
			}
			if ctx.Err() != nil {
				break
			}
		}
	}
	outcome := verdict.Pass
	message := "every step holds"
	switch {
	case sum.Errors > 0:
		outcome, message = verdict.Error, "something could not be done; see above"
	case sum.Failed > 0:
		outcome, message = verdict.Fail, "not every step holds; see above"
	case sum.Passed == 0:
		outcome, message = verdict.Skip, "nothing was done and nothing was verified"
	case sum.Skipped > 0:
		message = "every step that could be done here holds"
	}
	v := verdict.Verdict{Outcome: outcome, Seconds: seconds(time.Since(begin)), Findings: []verdict.Finding{}, Evidence: []verdict.Evidence{}}
	s.Emit(Event{Type: Summed, Command: command, Message: message, Verdict: &v, Summary: &sum})
	return outcome
}

func skipped(code, message string) verdict.Verdict {
	return verdict.Verdict{Outcome: verdict.Skip, Findings: []verdict.Finding{{Code: code, Message: message}}, Evidence: []verdict.Evidence{}}
}

func (s *Session) do(ctx context.Context, command string, step Step) verdict.Verdict {
	begin := time.Now()
	var r *Record
	var err error
	for try := 1; ; try++ {
		r = &Record{v: verdict.Verdict{Outcome: verdict.Pass, Findings: []verdict.Finding{}, Evidence: []verdict.Evidence{}}}
		r.say = func(message string) {
			s.Emit(Event{Type: Progress, Command: command, Step: step.Name, Message: message})
		}
		err = step.run(s, ctx, r)
		late := err == nil && r.late && !slices.ContainsFunc(r.v.Findings, func(f verdict.Finding) bool { return f.Code != codeFailed })
		if !late || try == tries || ctx.Err() != nil {
			if try > 1 {
				r.Note("tries", float64(try), "")
			}
			break
		}
		r.Say("%s Each was answered, too late: the machine has much to do; tried again", r.v.Findings[0].Message)
	}
	var skip skipError
	switch {
	case ctx.Err() != nil:
		r.v.Outcome = verdict.Error
		r.v.Findings = []verdict.Finding{{Code: "step.interrupted", Message: "it was interrupted; what it had changed was put back"}}
	case errors.As(err, &skip):
		r.v.Outcome = verdict.Skip
		r.v.Findings = append(r.v.Findings, verdict.Finding{Code: "step.skip", Message: string(skip)})
	case errors.Is(err, errNotReady):
	case err != nil && r.v.Outcome == verdict.Fail:
		// What was found is most likely why the rest could not be done.
		r.v.Findings = append(r.v.Findings, verdict.Finding{Code: "step.cut", Message: err.Error()})
	case err != nil:
		r.v.Outcome = verdict.Error
		r.v.Findings = append(r.v.Findings, verdict.Finding{Code: "step.error", Message: err.Error()})
	}
	r.v.Seconds = seconds(time.Since(begin))
	return r.v
}

// tries is how often a step is tried in which requests failed only because
// they came too late on a busy machine. What the service itself does wrong
// comes again.
const tries = 3

// skipError is what a step returns that cannot be done here.
type skipError string

func (e skipError) Error() string { return string(e) }

func skip(format string, args ...any) error { return skipError(fmt.Sprintf(format, args...)) }

// Record is what a step writes down.
type Record struct {
	v    verdict.Verdict
	say  func(string)
	late bool // what failed was answered, and too late
}

// Say tells what is being done.
func (r *Record) Say(format string, args ...any) { r.say(fmt.Sprintf(format, args...)) }

// Find records a finding, which fails the step.
func (r *Record) Find(code, format string, args ...any) *verdict.Finding {
	r.v.Outcome = verdict.Fail
	r.v.Findings = append(r.v.Findings, verdict.Finding{Code: code, Message: fmt.Sprintf(format, args...)})
	return &r.v.Findings[len(r.v.Findings)-1]
}

// Note records a figure without a limit.
func (r *Record) Note(name string, now float64, unit string) {
	r.v.Evidence = append(r.v.Evidence, verdict.Evidence{Name: name, Now: round(now), Unit: unit})
}

// AtMost records a figure and its upper limit, and reports whether it holds. It
// finds nothing: what that means is for the step to say.
func (r *Record) AtMost(name string, now, limit float64, unit string) bool {
	return r.bound(name, now, limit, unit, "max")
}

// AtLeast is [Record.AtMost] for a lower limit.
func (r *Record) AtLeast(name string, now, limit float64, unit string) bool {
	return r.bound(name, now, limit, unit, "min")
}

// Equal is [Record.AtMost] for the one right figure.
func (r *Record) Equal(name string, now, limit float64, unit string) bool {
	return r.bound(name, now, limit, unit, "equal")
}

func (r *Record) bound(name string, now, limit float64, unit, bound string) bool {
	e := verdict.Evidence{Name: name, Now: round(now), Unit: unit, Limit: &limit, Bound: bound}
	r.v.Evidence = append(r.v.Evidence, e)
	return e.Holds()
}

func round(f float64) float64 { return math.Round(f*100) / 100 }

func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*10) / 10 }

// poll asks until done says so, and returns its error then; where the time is
// up first, the last one.
func poll(ctx context.Context, limit time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not so within %s", limit))
	defer cancel()
	var last error
	for {
		ok, err := done()
		if ok {
			return err
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			if last != nil {
				return last
			}
			return context.Cause(ctx)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// after is the context in which things are put back, also once the command
// was interrupted.
func after(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}

func (r *Record) failed() bool { return r.v.Outcome == verdict.Fail }
