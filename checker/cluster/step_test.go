package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"pitstop/checker/verdict"
)

// play runs steps in the place of a command's, and returns how each ended.
func play(t *testing.T, steps ...Step) (verdict.Outcome, []string) {
	t.Helper()
	const name = "play"
	Commands[name] = steps
	t.Cleanup(func() { delete(Commands, name) })
	var ends []string
	s := &Session{Emit: func(e Event) {
		if e.Type == Ended {
			ends = append(ends, e.Step+" "+string(e.Outcome))
		}
		if _, err := json.Marshal(e); err != nil {
			t.Error(err)
		}
	}}
	return s.Run(context.Background(), name), ends
}

func does(err error, find bool) func(*Session, context.Context, *Record) error {
	return func(_ *Session, _ context.Context, r *Record) error {
		if find {
			r.Find("some.code", "something is wrong")
		}
		return err
	}
}

func TestRun_EndsWithTheWorstOutcome(t *testing.T) {
	pass := Step{Name: "pass", run: does(nil, false)}
	fail := Step{Name: "fail", run: does(nil, true)}
	broken := Step{Name: "broken", run: does(errors.New("no such thing"), false)}
	both := Step{Name: "both", run: does(errors.New("cut short"), true)}
	skips := Step{Name: "skips", run: does(skip("not here"), false)}
	basis := fail
	basis.Name, basis.basis = "basis", true
	for _, c := range []struct {
		name  string
		steps []Step
		want  verdict.Outcome
		ends  []string
	}{
		{"all hold", []Step{pass, pass}, verdict.Pass, []string{"pass pass", "pass pass"}},
		{"one fails and the next goes on", []Step{fail, pass}, verdict.Fail, []string{"fail fail", "pass pass"}},
		{"an error outweighs it", []Step{fail, broken}, verdict.Error, []string{"fail fail", "broken error"}},
		{"a finding outweighs what it led to", []Step{both}, verdict.Fail, []string{"both fail"}},
		{"one is skipped", []Step{pass, skips}, verdict.Pass, []string{"pass pass", "skips skip"}},
		{"all are skipped", []Step{skips}, verdict.Skip, []string{"skips skip"}},
		{"the basis fails", []Step{basis, pass}, verdict.Fail, []string{"basis fail", "pass skip"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ends := play(t, c.steps...)
			if got != c.want || !slices.Equal(ends, c.ends) {
				t.Errorf("%s %v, want %s %v", got, ends, c.want, c.ends)
			}
		})
	}
}

func TestRun_StopsWhenItIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	Commands["interrupted"] = []Step{
		{Name: "one", run: func(_ *Session, ctx context.Context, _ *Record) error { cancel(); return ctx.Err() }},
		{Name: "two", run: does(nil, false)},
	}
	defer delete(Commands, "interrupted")
	var ends []string
	s := &Session{Emit: func(e Event) {
		if e.Type == Ended {
			ends = append(ends, e.Step)
		}
	}}
	if got := s.Run(ctx, "interrupted"); got != verdict.Error || !slices.Equal(ends, []string{"one"}) {
		t.Errorf("%s after %v", got, ends)
	}
}

func TestRun_TriesAgainWhatOnlyCameTooLate(t *testing.T) {
	ran := 0
	step := func(good int, code string) Step {
		ran = 0
		return Step{Name: "load", run: func(_ *Session, _ context.Context, r *Record) error {
			if ran++; ran < good {
				r.late = true
				r.Find(code, "one request failed")
			}
			return nil
		}}
	}
	if got, _ := play(t, step(3, codeFailed)); got != verdict.Pass || ran != 3 {
		t.Errorf("late twice: %s after %d tries", got, ran)
	}
	if got, _ := play(t, step(9, codeFailed)); got != verdict.Fail || ran != tries {
		t.Errorf("always late: %s after %d tries", got, ran)
	}
	if got, _ := play(t, step(2, "load.lost")); got != verdict.Fail || ran != 1 {
		t.Errorf("events lost: %s after %d tries", got, ran)
	}
}
