//go:build review

package label_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"pitstop/checker/probe"
	"pitstop/lessons/07_slice_retention"
)

// A label is its bytes.
func TestLabel_IsByteForByte(t *testing.T) {
	usable(t)
	depots := map[string]string{
		"non-ASCII":                  "Łódź-Górna 04 ",
		"cut in the middle":          "Frankfurt (Oder) ö"[:18],
		"blanks at both ends":        "  Ulm             ",
		"only blanks":                "                  ",
		"NUL bytes":                  "\x00Ulm\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"line ends":                  "Ulm\r\nNord\n\t\v      ",
		"not UTF-8":                  "\xff\xfe\x80Ulm\xc3            "[:18],
		"the marker itself":          "Ulm" + label.Marker + "       ",
		"letters of four bytes":      "🚚🚚🚚🚚🚚"[:18],
		"quotes and a closing brace": `Ulm "Nord" \"}    `,
	}
	for name, depot := range depots {
		for _, number := range []string{trackingOf(3), "pk 00\x000000003 ", "ÅÄÖ000000 \x00"} {
			want := number + depot
			if len(want) != label.Size {
				t.Fatalf("test: label %q has %d bytes", want, len(want))
			}
			layouts := map[string][]byte{
				"the label last":             []byte("scan\n" + label.Marker + want),
				"only the label":             []byte(label.Marker + want),
				"the label in the middle":    scan(512, want),
				"the label first":            labelFirst(512, want),
				"a second label behind it":   append(scan(512, want), scan(512, labelOf(9))...),
				"signs of a marker before":   []byte("%%LABEL %%%LABE" + label.Marker + want + "\n"),
				"a picture with every byte":  append(allBytes(), label.Marker+want+"\n"...),
				"a line end before the mark": []byte("\r\n" + label.Marker + want + "\r\n"),
			}
			for where, doc := range layouts {
				before := bytes.Clone(doc)
				for _, c := range calls() {
					want := want
					if c.tracking {
						want = number
					}
					got, err, panicked := attempt(c.do, doc)
					if panicked != nil {
						probe.Fatalf(t, "label.bytes", "%s (%s, depot with %s) panicked: %v.", c.name, where, name, panicked)
					}
					if err != nil || got != want {
						probe.Fatalf(t, "label.bytes", "%s (%s, depot with %s) gave %q and the error %v; want %q, byte for byte.", c.name, where, name, got, err, want)
					}
				}
				x, y := label.NewIndex(), label.NewIndex()
				x.Add(doc)
				y.AddText(string(doc))
				for _, x := range []*label.Index{x, y} {
					if got, ok := x.Lookup(number); !ok || got != want {
						probe.Fatalf(t, "label.bytes", "Lookup(%q) (%s, depot with %s) gave %q, %t; want %q, byte for byte.", number, where, name, got, ok, want)
					}
				}
				if !bytes.Equal(doc, before) {
					probe.Fatalf(t, "label.alias", "The document is not what it was before its label was extracted (%s, depot with %s).", where, name)
				}
			}
		}
	}
}

// The service reads the next document into the same buffer, and adds to labels.
func TestLabel_IsNotTheDocumentsMemory(t *testing.T) {
	usable(t)
	doc := scan(512, labelOf(1))
	before := bytes.Clone(doc)

	got, _ := label.Extract(doc)
	if _ = append(got, " RETURNED TO SENDER"...); !bytes.Equal(doc, before) {
		probe.Errorf(t, "label.alias", "Appending to the label that Extract gave wrote into its document.")
	}
	doc = bytes.Clone(before)
	got, _ = label.Extract(doc)
	if clear(got); !bytes.Equal(doc, before) {
		probe.Errorf(t, "label.alias", "Changing the label that Extract gave changed its document.")
	}
	doc = bytes.Clone(before)
	got, _ = label.Extract(doc)
	x := label.NewIndex()
	tracking, _ := x.Add(doc)
	copy(doc, bytes.Repeat([]byte("?"), len(doc)))
	if string(got) != labelOf(1) {
		probe.Errorf(t, "label.alias", "The next document was read into the same buffer, and the label that Extract gave before became %q.", got)
	}
	if l, ok := x.Lookup(trackingOf(1)); tracking != trackingOf(1) || !ok || l != labelOf(1) {
		probe.Errorf(t, "label.alias", "The next document was read into the same buffer, and an indexed label now reads %q, %t, its tracking number %q.", l, ok, tracking)
	}
}

func TestLabels_AreIndependent(t *testing.T) {
	usable(t)
	const n = 600
	doc := scan(512, labelOf(1))
	x := label.NewIndex()
	x.Add(doc)
	x.AddText(string(doc))
	one, _ := label.Extract(doc)
	again, _ := label.Extract(doc)
	if len(one) != label.Size || len(again) != label.Size {
		probe.Fatalf(t, "label.bytes", "Extract gave labels of %d and %d bytes; want %d.", len(one), len(again), label.Size)
	}
	clear(one)
	if string(again) != labelOf(1) {
		probe.Errorf(t, "label.shared", "A document was extracted twice; changing the one label changed the other into %q.", again)
	}
	third, _ := label.Extract(doc)
	if string(third) != labelOf(1) {
		probe.Errorf(t, "label.shared", "A caller changed the label it was given; extracting the document again then gives %q.", third)
	}
	if got, _ := x.Lookup(trackingOf(1)); got != labelOf(1) {
		probe.Errorf(t, "label.shared", "A caller changed the label it was given, and the index now gives %q.", got)
	}

	labels, texts := make([][]byte, n), make([]string, n)
	for i := range n {
		doc := scan(128, labelOf(i))
		labels[i], _ = label.Extract(doc)
		texts[i], _ = label.ExtractText(string(doc))
	}
	count := func(what string) {
		wrong := 0
		for i := range n {
			if string(labels[i]) != labelOf(i) || texts[i] != labelOf(i) {
				wrong++
			}
		}
		if !probe.Equal(t, "labels that are wrong "+what, wrong, 0, "labels") {
			probe.Errorf(t, "label.shared", "%d of %d labels are wrong %s.", wrong, n, what)
		}
	}
	count("after later documents were extracted")
	for i := range n {
		_ = append(labels[i], strings.Repeat("!", label.Size)...)
	}
	count("after something was appended to each")
}

// Several connections extract at once.
func TestLabels_FromSeveralGoroutines(t *testing.T) {
	usable(t)
	const workers, each = 4, 200
	x := label.NewIndex()
	var mu sync.Mutex
	var trouble []string
	report := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		trouble = append(trouble, fmt.Sprintf(format, args...))
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					report("a call panicked: %v", p)
				}
			}()
			labels, texts := make([][]byte, each), make([]string, each)
			for i := range each {
				n := w*each + i
				doc := scan(128, labelOf(n))
				labels[i], _ = label.Extract(doc)
				texts[i], _ = label.ExtractText(string(doc))
				if i%2 == 0 {
					x.Add(doc)
				} else {
					x.AddText(string(doc))
				}
				x.Lookup(trackingOf((n + each) % (workers * each)))
				x.Len()
				_ = append(labels[i], byte(w), byte(i))
			}
			for i := range each {
				n := w*each + i
				indexed, _ := x.Lookup(trackingOf(n))
				if want := labelOf(n); string(labels[i]) != want || texts[i] != want || indexed != want {
					report("label %d reads %q, its text %q, in the index %q", n, labels[i], texts[i], indexed)
				}
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(15 * time.Second):
		probe.Fatalf(t, "label.stuck", "%d goroutines with %d small documents each have not come to an end after 15 s.", workers, each)
	}
	if !probe.Equal(t, "labels spoiled by other goroutines", len(trouble), 0, "labels") {
		probe.Errorf(t, "label.shared", "%d goroutines extract at once, and %d of %d labels are spoiled: %s.", workers, len(trouble), workers*each, trouble[0])
	}
	if x.Len() != workers*each {
		probe.Errorf(t, "label.shared", "%d goroutines added %d labels each, and the index has %d.", workers, each, x.Len())
	}
}

func TestIndex_KeepsItsPromises(t *testing.T) {
	usable(t)
	x, other := label.NewIndex(), label.NewIndex()
	number := trackingOf(5)
	x.Add(scan(128, number+"Ulm               "))
	x.AddText(string(scan(128, number+"Ulm-Nord          ")))
	if got, _ := x.Lookup(number); x.Len() != 1 || got != number+"Ulm-Nord          " {
		probe.Errorf(t, "label.index", "A label with the same number was added again: Len is %d and Lookup gives %q; want one label, the newer one.", x.Len(), got)
	}
	for _, strange := range []string{"", "PK", number[:13], number + " ", number + "Ulm", strings.ToLower(number), strings.Repeat("x", 100)} {
		var got string
		var ok bool
		_, _, panicked := attempt(func([]byte) (string, error) { got, ok = x.Lookup(strange); return "", nil }, nil)
		if panicked != nil {
			probe.Errorf(t, "label.index", "Lookup(%q) panicked: %v.", strange, panicked)
		} else if ok || got != "" {
			probe.Errorf(t, "label.index", "Lookup(%q) gave %q, %t; no label has that number.", strange, got, ok)
		}
	}
	if _, ok := other.Lookup(number); ok || other.Len() != 0 {
		probe.Errorf(t, "label.index", "A second index has %d labels after the first was filled.", other.Len())
	}
	x.Add(scan(128, strings.ToLower(number)+"Ulm-Süd          "))
	x.Add(scan(128, "PK00000000005 "+"Ulm-West          "))
	if x.Len() != 3 {
		probe.Errorf(t, "label.index", "Three tracking numbers that differ in case or in a blank make an index of %d.", x.Len())
	}
}

// Some scanners send the text first and the picture behind it.
func TestLabel_LetsGoOfAPictureBehindIt(t *testing.T) {
	probe.NeedsPlainHeap(t)
	usable(t)
	for _, k := range keepers {
		t.Run(k.name, func(t *testing.T) { letsGo(t, k, documents/4, labelFirst) })
	}
}

// The service keeps the tracking numbers longer than the index.
func TestTrackingNumber_LetsGoOfItsDocument(t *testing.T) {
	probe.NeedsPlainHeap(t)
	usable(t)
	const n = 8
	got := probe.Retained(t, func() any {
		x := label.NewIndex()
		numbers := make([]string, 2*n)
		for i := range n {
			numbers[2*i], _ = x.Add(scan(documentSize, labelOf(i)))
			numbers[2*i+1], _ = x.AddText(asText(scan(documentSize, labelOf(i))))
		}
		return numbers
	})
	if each := got / (2 * n); !probe.AtMost(t, "bytes kept alive by one tracking number", each, labelLimit, "B") {
		probe.Errorf(t, "label.tracking", "%d tracking numbers that Add and AddText returned keep %s alive, %s each, though the index is gone; a number may keep %s.",
			2*n, probe.Bytes(got), probe.Bytes(each), probe.Bytes(labelLimit))
	}
}

func TestExtract_AllocatesForTheLabel(t *testing.T) {
	probe.NeedsPlainHeap(t)
	usable(t)
	const n, size, limit = 16, 1 << 20, 16 << 10
	docs := make([][]byte, n)
	for i := range docs {
		docs[i] = labelFirst(size, labelOf(i))
		if i%2 == 0 {
			docs[i] = scan(size, labelOf(i))
		}
	}
	x := label.NewIndex()
	for _, f := range []struct {
		name string
		do   func(doc []byte)
	}{
		{"Extract", func(doc []byte) { label.Extract(doc) }},
		{"ExtractText", func(doc []byte) { label.ExtractText(asText(doc)) }},
		{"Index.Add", func(doc []byte) { x.Add(doc) }},
		{"Index.AddText", func(doc []byte) { x.AddText(asText(doc)) }},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, doc := range docs {
			f.do(doc)
		}
		runtime.ReadMemStats(&after)
		each := (after.TotalAlloc - before.TotalAlloc) / n
		if !probe.AtMost(t, f.name+": bytes allocated for one label", each, limit, "B") {
			probe.Errorf(t, "label.copies", "%s allocates %s to take %d bytes out of a document of %s; the limit is %s.",
				f.name, probe.Bytes(each), label.Size, probe.Bytes(size), probe.Bytes(limit))
		}
	}
}

// A day has thousands of labels, and no label brings its surroundings along.
func TestLabel_ManyStaySmall(t *testing.T) {
	probe.NeedsPlainHeap(t)
	usable(t)
	const n, limit = 4096, 512
	next := func(i int) []byte { return labelFirst(4096, labelOf(i)) }
	for _, k := range keepers {
		got := probe.Retained(t, func() any {
			kept, _ := k.keep(n, next)
			return kept
		})
		if each := got / n; !probe.AtMost(t, k.name+": bytes for each of many labels", each, limit, "B") {
			probe.Errorf(t, "label.bulky", "%s: %d labels of %d bytes keep %s alive, %d bytes each; where there are many, a label may take %d.",
				k.name, n, label.Size, probe.Bytes(got), each, limit)
		}
	}
}

// Most labels are dropped and a few are kept: one of each 2048.
func TestLabel_OneOfManyStaysSmall(t *testing.T) {
	probe.NeedsPlainHeap(t)
	usable(t)
	const n, every = 1 << 16, 1 << 11
	const slack = labelLimit / 4 // what the runtime may need meanwhile
	for _, f := range extractors {
		got := growth(func() any {
			var kept []any
			for i := range n {
				if l := f.do(i); i%every == every/2 {
					kept = append(kept, l)
				}
			}
			return kept
		}, n/every*(labelLimit+slack))
		if each := got / (n / every); !probe.AtMost(t, f.name+": bytes kept alive by one of 2048 labels", each, labelLimit+slack, "B") {
			probe.Fatalf(t, "label.chunk", "%s: of %d labels one in %d is kept, and each of those keeps %s alive; a label may keep %s, also when its neighbours are dropped.",
				f.name, n, every, probe.Bytes(each), probe.Bytes(labelLimit))
		}
	}
}

// Labels and indexes that nobody keeps must cost nothing.
func TestLabel_DroppedIsGone(t *testing.T) {
	probe.NeedsPlainHeap(t)
	usable(t)
	const n, limit = 1 << 16, 256 << 10
	for _, f := range extractors {
		got := growth(func() any {
			for i := range n {
				f.do(n + i)
			}
			return nil
		}, limit)
		if !probe.AtMost(t, f.name+": bytes kept when every label was dropped", got, limit, "B") {
			probe.Fatalf(t, "label.hoard", "%s: %d labels were extracted and dropped, and the package still holds %s; at most %s may stay.",
				f.name, n, probe.Bytes(got), probe.Bytes(limit))
		}
	}
	got := growth(func() any {
		x := label.NewIndex()
		for i := range n / 8 {
			x.Add(scan(0, labelOf(2*n+i)))
			x.AddText(string(scan(0, labelOf(3*n+i))))
		}
		return nil
	}, limit)
	if !probe.AtMost(t, "bytes kept when the index was dropped", got, limit, "B") {
		probe.Fatalf(t, "label.hoard", "An index of %d labels was filled and dropped, and %s stay; at most %s may.", n/4, probe.Bytes(got), probe.Bytes(limit))
	}
}

// poisoned says that the package panicked, perhaps with a lock in its hand:
// whoever calls it again may wait forever.
var poisoned bool

// A document may end anywhere. This test and the next are the last that call
// the package, because they may poison it.
func TestDocument_EndsBeforeItsLabel(t *testing.T) {
	usable(t)
	whole := labelOf(3)
	type cut struct {
		name string
		doc  []byte
	}
	docs := []cut{
		{"nil", nil},
		{"empty", []byte{}},
		{"one byte", []byte("%")},
		{"a label without its marker", []byte(whole)},
		{"half a marker at the end", append(bytes.Clone(picture(512)), label.Marker[:5]...)},
		{"a marker with a gap", []byte("%%LABE L:" + whole)},
		{"a marker in lower case", []byte(strings.ToLower(label.Marker) + whole)},
	}
	for n := range label.Size {
		docs = append(docs,
			cut{fmt.Sprintf("nothing before the marker, and %d bytes behind it", n), []byte(label.Marker + whole[:n])},
			cut{fmt.Sprintf("%d bytes behind the marker", n), append(bytes.Clone(picture(512)), label.Marker+whole[:n]...)},
			cut{fmt.Sprintf("%d bytes behind the marker, in a buffer that goes on", n), inItsBuffer(whole, n)},
		)
	}
	for _, d := range docs {
		for _, c := range calls() {
			got, err, panicked := attempt(c.do, d.doc)
			switch {
			case panicked != nil:
				poisoned = true
				probe.Fatalf(t, "label.truncated", "%s of a document of %d bytes (%s) panicked: %v.", c.name, len(d.doc), d.name, panicked)
			case !errors.Is(err, label.ErrNoLabel):
				probe.Fatalf(t, "label.truncated", "%s of a document of %d bytes (%s) gave %q and the error %v; want ErrNoLabel.", c.name, len(d.doc), d.name, got, err)
			case got != "":
				probe.Fatalf(t, "label.truncated", "%s of a document of %d bytes (%s) gave ErrNoLabel and %q with it.", c.name, len(d.doc), d.name, got)
			}
		}
	}
	x := label.NewIndex()
	x.Add(scan(512, whole))
	for _, d := range docs {
		x.Add(d.doc)
		x.AddText(string(d.doc))
	}
	if got, _ := x.Lookup(trackingOf(3)); x.Len() != 1 || got != whole {
		probe.Errorf(t, "label.index", "After documents without a label, an index of one label has %d, and Lookup gives %q.", x.Len(), got)
	}
}

// inItsBuffer builds a document that ends n bytes into its label, in a buffer
// where an older document goes on.
func inItsBuffer(l string, n int) []byte {
	buffer := scan(512, l)
	return buffer[:bytes.Index(buffer, []byte(label.Marker))+len(label.Marker)+n]
}

// The service keeps the errors of a day for its report.
func TestError_LetsGoOfItsDocument(t *testing.T) {
	probe.NeedsPlainHeap(t)
	usable(t)
	if poisoned {
		probe.Fatalf(t, "label.truncated", "What an error keeps alive could not be measured, because a document without a complete label panics.")
	}
	const n, size = 4, 1 << 20
	kept := 0
	got := probe.Retained(t, func() any {
		var errs []error
		for range n {
			without := bytes.Clone(picture(size))
			short := append(bytes.Clone(picture(size)), label.Marker+"PK"...)
			for _, doc := range [][]byte{without, short} {
				for _, c := range calls() {
					_, err, _ := attempt(c.do, doc)
					errs = append(errs, err)
				}
			}
		}
		kept = len(errs)
		return errs
	})
	if each := got / uint64(kept); !probe.AtMost(t, "bytes kept alive by one error", each, labelLimit, "B") {
		probe.Errorf(t, "label.error", "%d errors about documents of %s without a label keep %s alive, %s each; an error may keep %s.",
			kept, probe.Bytes(size), probe.Bytes(got), probe.Bytes(each), probe.Bytes(labelLimit))
	}
}

var extractors = []struct {
	name string
	do   func(n int) any
}{
	{"Extract", func(n int) any {
		l, _ := label.Extract(scan(0, labelOf(n)))
		return l
	}},
	{"ExtractText", func(n int) any {
		l, _ := label.ExtractText(string(scan(0, labelOf(n))))
		return l
	}},
}

// growth reports how many bytes of live heap what build returns, or leaves
// behind, adds. Cleanups run in their own time after a collection, so it
// collects until the figure is within limit or two seconds have passed.
func growth(build func() any, limit uint64) uint64 {
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	live()
	before := live()
	v := build()
	deadline := time.Now().Add(2 * time.Second)
	for {
		live()
		after := max(live(), before)
		if after-before <= limit || time.Now().After(deadline) {
			runtime.KeepAlive(v)
			return after - before
		}
		time.Sleep(time.Millisecond)
	}
}

type call struct {
	name     string
	tracking bool // gives the tracking number instead of the label
	do       func(doc []byte) (string, error)
}

// calls are the four ways to a label; the indexes are fresh ones.
func calls() []call {
	return []call{
		{"Extract", false, func(doc []byte) (string, error) { l, err := label.Extract(doc); return string(l), err }},
		{"ExtractText", false, func(doc []byte) (string, error) { return label.ExtractText(string(doc)) }},
		{"Index.Add", true, func(doc []byte) (string, error) { return label.NewIndex().Add(doc) }},
		{"Index.AddText", true, func(doc []byte) (string, error) { return label.NewIndex().AddText(string(doc)) }},
	}
}

// attempt turns a panic into a value.
func attempt(do func([]byte) (string, error), doc []byte) (got string, err error, panicked any) {
	defer func() { panicked = recover() }()
	got, err = do(doc)
	return got, err, nil
}

// labelFirst builds a document of size bytes whose picture comes last.
func labelFirst(size int, l string) []byte {
	text := "FORMAT 2\n" + label.Marker + l + "\n"
	doc := make([]byte, 0, max(size, len(text)))
	doc = append(doc, text...)
	return append(doc, picture(cap(doc)-len(text))...)
}

func allBytes() []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return all
}
