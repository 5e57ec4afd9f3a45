package broadcast_test

import (
	"context"
	"testing"

	"pitstop/checker/probe"
)

const readers = 9

// oneNeverReads: nine who read and, in the middle, one that has forgotten its
// subscription.
func oneNeverReads() outcome {
	h := open()
	var all []*reader
	for i := range readers {
		if i == 4 {
			h.hub.Subscribe(context.Background())
		}
		all = append(all, h.read())
	}
	settle()
	for range 3 {
		if h.outcome().Stuck == 0 {
			h.publish(1)
		}
	}
	for _, r := range all {
		h.judge(r, 1, h.o.Newest)
	}
	return h.outcome()
}

func TestHub_OneThatNeverReadsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	o := play(t, "one never reads")
	checkPublish(t, o, "one of 10 subscribers never reads")
	if !probe.Equal(t, "values that the other subscribers missed", o.Missed, 0, "values") {
		probe.Errorf(t, "broadcast.missed", "9 subscribers who read should have got %d values by now, and %d have not come: one who never reads stands in the way.", o.Wanted, o.Missed)
	}
	if !probe.Equal(t, "longest wait of a reader for a value", o.Lag.Milliseconds(), 0, "ms") {
		probe.Errorf(t, "broadcast.late", "a subscriber who reads all the time got a value %v after it was published.", o.Lag)
	}
	checkOrder(t, o, "one of 10 subscribers never reads")
}

// oneReadsLate: settings change three times while a subscriber is busy.
func oneReadsLate() outcome {
	h := open()
	ch := h.hub.Subscribe(context.Background())
	h.publish(3)
	h.find(ch)
	return h.outcome()
}

func TestHub_SlowSubscriberFindsTheNewest(t *testing.T) {
	t.Parallel()
	o := play(t, "one reads late")
	checkPublish(t, o, "the only subscriber is busy")
	checkFound(t, o, "three values were published while a subscriber was busy")
}

// oneComesLate: it subscribes after the change.
func oneComesLate() outcome {
	h := open()
	h.publish(2)
	h.find(h.hub.Subscribe(context.Background()))
	return h.outcome()
}

func TestHub_LateSubscriberFindsTheNewest(t *testing.T) {
	t.Parallel()
	o := play(t, "one comes late")
	checkPublish(t, o, "there are no subscribers")
	checkFound(t, o, "two values were published before anyone subscribed")
}

// contextsEnd: some leave, the others stay.
func contextsEnd() outcome {
	h := open()
	stays := h.read()
	settle()
	h.base = len(standing()) // for the hub and the one who stays
	var leavers []*reader
	for range 5 {
		leavers = append(leavers, h.read())
	}
	settle()
	for _, r := range leavers {
		r.leave()
	}
	h.left()
	for _, r := range leavers {
		if !r.closed {
			h.o.Open++
		}
	}
	h.publish(1)
	h.judge(stays, 1, 2)
	return h.outcome()
}

func TestHub_EndOfContextEndsTheSubscription(t *testing.T) {
	t.Parallel()
	o := play(t, "contexts end")
	when := "the contexts of 5 subscribers have ended"
	checkEnd(t, o, when)
	checkPublish(t, o, when)
	if o.Missed > 0 {
		probe.Errorf(t, "broadcast.missed", "%d of %d values have not come to the subscriber who stayed (%s).", o.Missed, o.Wanted, when)
	}
}

// hubIsClosed: the service shuts down; contexts of subscribers live on.
func hubIsClosed() outcome {
	h := open()
	var all []*reader
	for range 5 {
		all = append(all, h.read())
	}
	settle()
	h.hub.Close()
	h.left()
	for _, r := range all {
		if !r.closed {
			h.o.Open++
		}
	}
	return h.outcome()
}

func TestHub_CloseEndsAllSubscriptions(t *testing.T) {
	t.Parallel()
	checkEnd(t, play(t, "the hub is closed"), "the hub is closed, the contexts of 5 subscribers live on")
}

// checkPublish: each call has returned, and no time has passed meanwhile.
func checkPublish(t *testing.T, o outcome, when string) {
	t.Helper()
	switch {
	case !probe.Equal(t, "calls of Publish that do not return: "+when, o.Stuck, 0, "calls"):
		probe.Errorf(t, "broadcast.blocked", "of %d calls of Publish, %d do not return (%s).", o.Calls, o.Stuck, when)
	case !probe.Equal(t, "time Publish waited: "+when, o.Waited.Milliseconds(), 0, "ms"):
		probe.Errorf(t, "broadcast.waits", "%d calls of Publish waited %v in all (%s).", o.Calls, o.Waited, when)
	case o.Failed != "":
		probe.Errorf(t, "broadcast.error", "Publish returned %q though the hub is open (%s).", o.Failed, when)
	}
}

// checkFound: exactly the newest value was there to read.
func checkFound(t *testing.T, o outcome, when string) {
	t.Helper()
	switch {
	case len(o.Found) == 0:
		probe.Errorf(t, "broadcast.missed", "the subscriber found no value; version %d is the newest (%s).", o.Newest, when)
	case o.Found[0] == o.Newest && len(o.Found) > 1:
		probe.Errorf(t, "broadcast.twice", "the subscriber found the newest version, and then %d values more; nothing newer was published (%s).", len(o.Found)-1, when)
	case o.Found[len(o.Found)-1] != o.Newest || len(o.Found) > 1:
		probe.Errorf(t, "broadcast.stale", "the subscriber found versions %v; version %d is the newest, and the only one it should find (%s).", o.Found, o.Newest, when)
	}
	probe.Note(t, "values found: "+when, len(o.Found), "values")
}

// checkOrder: each reader has seen each version once, in order.
func checkOrder(t *testing.T, o outcome, when string) {
	t.Helper()
	if o.Backwards > 0 {
		probe.Errorf(t, "broadcast.backwards", "%d values came after a newer one (%s).", o.Backwards, when)
	}
	if o.Twice > 0 {
		probe.Errorf(t, "broadcast.twice", "%d values came twice (%s).", o.Twice, when)
	}
}

// checkEnd: the channels are closed, and no goroutine is left.
func checkEnd(t *testing.T, o outcome, when string) {
	t.Helper()
	if !probe.Equal(t, "channels still open: "+when, o.Open, 0, "channels") {
		probe.Errorf(t, "broadcast.open", "%d channels are not closed (%s).", o.Open, when)
	}
	if !probe.Equal(t, "goroutines left: "+when, o.Left, 0, "goroutines") {
		probe.Errorf(t, "broadcast.leak", "%d goroutines are left: %s (%s).", o.Left, o.Where, when)
	}
}
