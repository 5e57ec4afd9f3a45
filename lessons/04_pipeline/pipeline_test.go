package pipeline_test

import (
	"testing"

	"pitstop/checker/probe"
)

const (
	ordinaryEvents  = 100
	ordinaryErrors  = 10
	eventsWithPanic = 40
	panicking       = workers + 2
)

// ordinary: a hundred events, a reader who reads to the end.
func ordinary() outcome {
	d := open(ordinaryEvents)
	d.offer(ordinaryEvents-ordinaryErrors, "delivered")
	d.offer(ordinaryErrors, "error")
	close(d.events)
	return d.finish()
}

func TestPipeline_EachEventHasOneResult(t *testing.T) {
	t.Parallel()
	o := play(t, "ordinary")
	checkAccount(t, o, "100 events, 10 of them with an error")
	checkEnd(t, o, "the events were closed and all results read")
}

// panics: more events that panic than there are workers, the others between
// and behind them.
func panics() outcome {
	d := open(eventsWithPanic)
	for range panicking {
		d.offer(1, "panic")
		d.offer(2, "delivered")
	}
	d.offer(eventsWithPanic-3*panicking, "delivered")
	close(d.events)
	return d.finish()
}

func TestPipeline_PanicIsOneResult(t *testing.T) {
	t.Parallel()
	o := play(t, "panics")
	checkAccount(t, o, "40 events, 6 of which panic")
	checkEnd(t, o, "the events were closed and all results read; 6 had panicked")
}

// width: events that are held, more than there are workers.
func width() outcome {
	d := open(3 * workers)
	d.offer(3*workers, "held")
	close(d.events)
	d.settle()
	d.o.AtWork = d.inHandle
	close(d.gate)
	return d.finish()
}

func TestPipeline_HandlesAsManyAtOnceAsWorkers(t *testing.T) {
	t.Parallel()
	o := play(t, "width")
	if !probe.Equal(t, "events being handled at once", o.AtWork, workers, "events") && o.AtWork < workers {
		probe.Errorf(t, "pipeline.serial", "%d events are being handled by %d workers, though %d wait.", o.AtWork, workers, 3*workers)
	}
	if o.Peak > workers {
		probe.Errorf(t, "pipeline.unbounded", "%d events were being handled at once by %d workers.", o.Peak, workers)
	}
	checkAccount(t, o, "12 events that all take their time")
}

// leaves: the reader has had enough after two results, cancels and goes.
func leaves() outcome {
	d := open(100)
	d.offer(100, "delivered")
	d.next()
	d.next()
	d.settle()
	d.end()
	d.left()
	return d.finish()
}

// idle: nothing to do when the service shuts down.
func idle() outcome {
	d := open(1)
	d.settle()
	d.end()
	d.left()
	return d.finish()
}

func TestPipeline_EndsWhenTheContextDoes(t *testing.T) {
	t.Parallel()
	for scene, when := range map[string]string{
		"leaves": "the reader took 2 results of 100 events and the context ended",
		"idle":   "the context ended while there were no events",
	} {
		t.Run(scene, func(t *testing.T) {
			t.Parallel()
			o := play(t, scene)
			checkAccount(t, o, when)
			checkEnd(t, o, when)
		})
	}
}

// checkAccount: each event has had one result, or one OnDrop if it was taken
// and the context has ended.
func checkAccount(t *testing.T, o outcome, of string) {
	t.Helper()
	if !probe.Equal(t, "events without an answer: "+of, o.Lost, 0, "events") {
		if o.Ended {
			probe.Errorf(t, "pipeline.dropped", "%d of %d events that were taken had neither a result nor OnDrop (%s).", o.Lost, o.Taken, of)
		} else {
			probe.Errorf(t, "pipeline.lost", "%d of %d events had no result (%s).", o.Lost, o.Offered, of)
		}
	}
	if o.TooSoon > 0 {
		probe.Errorf(t, "pipeline.lost", "%d of %d events were dropped though the context had not ended (%s).", o.TooSoon, o.Offered, of)
	}
	if o.Unnamed > 0 {
		probe.Errorf(t, "pipeline.unnamed", "%d of %d results do not say which event they belong to (%s).", o.Unnamed, o.Results, of)
	}
	if o.Twice > 0 {
		probe.Errorf(t, "pipeline.twice", "%d events had more than one answer (%s).", o.Twice, of)
	}
	if o.Wrong > 0 {
		probe.Errorf(t, "pipeline.result", "%d of %d results are not what Handle gave for their event: its notice, its error, or a *PanicError (%s).", o.Wrong, o.Results, of)
	}
}

// checkEnd: the results are closed, and no goroutine is left.
func checkEnd(t *testing.T, o outcome, when string) {
	t.Helper()
	if !o.Closed {
		probe.Errorf(t, "pipeline.open", "the results are not closed, so that whoever ranges over them waits for good (%s).", when)
	}
	if o.Early {
		probe.Errorf(t, "pipeline.closed_early", "the results were closed while Handle or OnDrop was still at work (%s).", when)
	}
	if !probe.Equal(t, "goroutines left: "+when, o.Left, 0, "goroutines") {
		probe.Errorf(t, "pipeline.leak", "%d goroutines are left: %s (%s).", o.Left, o.Where, when)
	}
}
