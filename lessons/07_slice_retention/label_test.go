package label_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"
	"weak"

	"pitstop/checker/probe"
	"pitstop/lessons/07_slice_retention"
)

const (
	documents    = 16
	documentSize = 8 << 20
	labelLimit   = 4 << 10 // bytes that one kept label may keep alive
)

func TestExtract_GivesTheLabel(t *testing.T) {
	usable(t)
	want := labelOf(7)

	got, err := label.Extract(scan(4096, want))
	if err != nil || string(got) != want {
		probe.Errorf(t, "label.bytes", "Extract gave %q and the error %v; the document's label is %q.", got, err, want)
	}
	text, err := label.ExtractText(string(scan(4096, want)))
	if err != nil || text != want {
		probe.Errorf(t, "label.bytes", "ExtractText gave %q and the error %v; the document's label is %q.", text, err, want)
	}
	if got, err := label.Extract(bytes.Repeat([]byte("image "), 100)); !errors.Is(err, label.ErrNoLabel) {
		probe.Errorf(t, "label.bytes", "Extract of a document without a label gave %q and the error %v; want ErrNoLabel.", got, err)
	}
}

func TestIndex_FindsLabelsByTrackingNumber(t *testing.T) {
	usable(t)
	x := label.NewIndex()
	for n := range 4 {
		var tracking string
		var err error
		if n%2 == 0 {
			tracking, err = x.Add(scan(512, labelOf(n)))
		} else {
			tracking, err = x.AddText(string(scan(512, labelOf(n))))
		}
		if err != nil || tracking != trackingOf(n) {
			probe.Errorf(t, "label.index", "Adding document %d gave the tracking number %q and the error %v; want %q.", n, tracking, err, trackingOf(n))
		}
	}
	for n := range 4 {
		if got, ok := x.Lookup(trackingOf(n)); !ok || got != labelOf(n) {
			probe.Errorf(t, "label.index", "Lookup(%q) gave %q, %t; want %q.", trackingOf(n), got, ok, labelOf(n))
		}
	}
	if got, ok := x.Lookup("PK999999999999"); ok {
		probe.Errorf(t, "label.index", "Lookup of a tracking number that was never added gave %q.", got)
	}
	if x.Len() != 4 {
		probe.Errorf(t, "label.index", "Len is %d after four labels.", x.Len())
	}
}

// TestLabel_LetsGoOfItsDocument takes the labels of 16 documents of 8 MiB, one
// document after the other, and keeps nothing but what the package gave. Two
// instruments: the bytes of the live heap, and a weak pointer to each document,
// which turns nil when the document is gone.
func TestLabel_LetsGoOfItsDocument(t *testing.T) {
	probe.NeedsPlainHeap(t)
	usable(t)
	for _, k := range keepers {
		t.Run(k.name, func(t *testing.T) { letsGo(t, k, documents, scan) })
	}
}

// A keeper takes n documents out of next and returns all that a service keeps
// of them, and a check that the labels are still right.
type keeper struct {
	name string
	keep func(n int, next func(int) []byte) (kept any, check func() error)
}

var keepers = []keeper{
	{"Extract", func(n int, next func(int) []byte) (any, func() error) {
		labels := make([][]byte, n)
		for i := range n {
			labels[i], _ = label.Extract(next(i))
		}
		return labels, func() error {
			return checkAll(n, func(i int) string { return string(labels[i]) })
		}
	}},
	{"ExtractText", func(n int, next func(int) []byte) (any, func() error) {
		labels := make([]string, n)
		for i := range n {
			labels[i], _ = label.ExtractText(asText(next(i)))
		}
		return labels, func() error {
			return checkAll(n, func(i int) string { return labels[i] })
		}
	}},
	{"Index.Add", func(n int, next func(int) []byte) (any, func() error) {
		x := label.NewIndex()
		for i := range n {
			x.Add(next(i))
		}
		return x, checkIndex(n, x)
	}},
	{"Index.AddText", func(n int, next func(int) []byte) (any, func() error) {
		x := label.NewIndex()
		for i := range n {
			x.AddText(asText(next(i)))
		}
		return x, checkIndex(n, x)
	}},
}

func letsGo(t *testing.T, k keeper, n int, layout func(size int, label string) []byte) {
	t.Helper()
	bytesKept := probe.Retained(t, func() any {
		kept, _ := k.keep(n, func(i int) []byte { return layout(documentSize, labelOf(i)) })
		return kept
	})
	if each := bytesKept / uint64(n); !probe.AtMost(t, k.name+": bytes kept alive by one label", each, labelLimit, "B") {
		probe.Errorf(t, "label.retains", "%s: %d labels of %d bytes keep %s alive, %s each; a label may keep %s.",
			k.name, n, label.Size, probe.Bytes(bytesKept), probe.Bytes(each), probe.Bytes(labelLimit))
	}

	var watch []weak.Pointer[byte]
	kept, check := k.keep(n, func(i int) []byte {
		doc := layout(documentSize, labelOf(i))
		watch = append(watch, weak.Make(&doc[0]))
		return doc
	})
	runtime.GC()
	runtime.GC()
	alive := 0
	for _, w := range watch {
		if w.Value() != nil {
			alive++
		}
	}
	if !probe.AtMost(t, k.name+": documents still reachable", alive, 0, "documents") {
		probe.Errorf(t, "label.retains", "%s: %d of %d documents are still reachable after a collection, though only their labels are kept.",
			k.name, alive, n)
	}
	if err := check(); err != nil {
		probe.Errorf(t, "label.shared", "%s: after %d documents and a collection, %v.", k.name, n, err)
	}
	runtime.KeepAlive(kept)
}

func checkAll(n int, got func(int) string) error {
	for i := range n {
		if got(i) != labelOf(i) {
			return fmt.Errorf("the label of document %d reads %q instead of %q", i, got(i), labelOf(i))
		}
	}
	return nil
}

func checkIndex(n int, x *label.Index) func() error {
	return func() error {
		return checkAll(n, func(i int) string {
			l, _ := x.Lookup(trackingOf(i))
			return l
		})
	}
}

// asText gives the document's own bytes as a string, without a copy, so that
// the weak pointer to its first byte watches the string too.
func asText(doc []byte) string { return unsafe.String(&doc[0], len(doc)) }

func trackingOf(n int) string { return fmt.Sprintf("PK%012d", n) }

// labelOf gives the label of parcel n: 14 bytes of number, 18 of depot.
func labelOf(n int) string { return trackingOf(n) + "Łódź-Górna 04 " }

// scan builds a document of size bytes: the picture first, then the text with
// the label, as the hand scanners send it.
func scan(size int, l string) []byte {
	text := "\nSENDER: Nordlicht Versand\n" + label.Marker + l + "\nWEIGHT: 2.4 kg\nSERVICE: next day\n"
	doc := make([]byte, 0, max(size, len(text)))
	doc = append(doc, picture(cap(doc)-len(text))...)
	return append(doc, text...)
}

// picture gives size bytes of noise without a '%'. They are made once.
func picture(size int) []byte {
	return noise()[:size]
}

var noise = sync.OnceValue(func() []byte {
	p := make([]byte, documentSize)
	r := uint32(1)
	for i := range p {
		r = r*1664525 + 1013904223
		if p[i] = byte(r >> 24); p[i] == '%' {
			p[i] = 0
		}
	}
	return p
})

// usable ends the test when the package gets stuck on a few small documents,
// good ones and broken ones. It tries once for all tests.
func usable(t *testing.T) {
	t.Helper()
	if what := firstTry(); what != "" {
		probe.Fatalf(t, "label.stuck", "%s", what)
	}
}

var firstTry = sync.OnceValue(func() string {
	done := make(chan string, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Sprintf("A call with a small document panicked: %v.", p)
			}
		}()
		good, bad := scan(64, labelOf(1)), picture(256)
		x := label.NewIndex()
		for _, doc := range [][]byte{good, bad, good} {
			label.Extract(doc)
			label.ExtractText(string(doc))
			x.Add(doc)
			x.AddText(string(doc))
			x.Lookup(trackingOf(1))
			x.Len()
		}
		done <- ""
	}()
	select {
	case what := <-done:
		return what
	case <-time.After(12 * time.Second):
		return "A handful of calls with small documents, in a row from one goroutine, had not come back after 12 s."
	}
})
