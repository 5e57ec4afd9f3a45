// Package label reads the label off a scanned parcel document.
//
// A document is the scanner's picture of the parcel, several megabytes, and
// the text that was read from it. Somewhere in the document stands [Marker];
// the [Size] bytes behind the first one are the label: [TrackingSize] bytes of
// tracking number, then the name of the depot. The width is fixed. A short
// name is padded with blanks, a long one is cut, in the middle of a letter if
// need be, so a label is bytes and not always valid UTF-8.
package label

import (
	"bytes"
	"errors"
	"strings"
	"sync"
)

const (
	Marker       = "%%LABEL:"
	Size         = 32
	TrackingSize = 14
)

// ErrNoLabel says that a document holds no complete label, and that the parcel
// must be scanned again.
var ErrNoLabel = errors.New("label: no complete label in the document")

// Extract returns the label of doc, byte for byte, or ErrNoLabel. The label is
// a copy: it belongs to the caller, and does not keep doc alive.
func Extract(doc []byte) ([]byte, error) {
	_, rest, found := bytes.Cut(doc, []byte(Marker))
	// Asked of rest, not of doc: the marker may stand at the very end. And asked
	// at all: slicing past the length is no panic where the capacity allows it.
	if !found || len(rest) < Size {
		return nil, ErrNoLabel
	}
	return bytes.Clone(rest[:Size]), nil
}

// ExtractText is [Extract] for a document that is a string.
func ExtractText(doc string) (string, error) {
	_, rest, found := strings.Cut(doc, Marker)
	if !found || len(rest) < Size {
		return "", ErrNoLabel
	}
	return strings.Clone(rest[:Size]), nil
}

// Index holds the labels of a day by tracking number. It may be used from
// several goroutines at once.
type Index struct {
	mu     sync.RWMutex
	labels map[string]string // tracking number to label; the key is a part of the value
}

// NewIndex returns an empty index.
func NewIndex() *Index {
	return &Index{labels: make(map[string]string)}
}

// Add puts the label of doc into the index and returns its tracking number.
// A label with the same number is replaced. Without a complete label, the
// error is ErrNoLabel and the index stays as it was.
func (x *Index) Add(doc []byte) (tracking string, err error) {
	label, err := Extract(doc)
	if err != nil {
		return "", err
	}
	return x.put(string(label)), nil
}

// AddText is [Index.Add] for a document that is a string.
func (x *Index) AddText(doc string) (tracking string, err error) {
	label, err := ExtractText(doc)
	if err != nil {
		return "", err
	}
	return x.put(label), nil
}

// put takes a label that is nobody else's memory.
func (x *Index) put(label string) (tracking string) {
	tracking = label[:TrackingSize]
	x.mu.Lock()
	defer x.mu.Unlock()
	x.labels[tracking] = label
	return tracking
}

// Lookup returns the label with that tracking number, and whether there is one.
func (x *Index) Lookup(tracking string) (label string, ok bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	label, ok = x.labels[tracking]
	return label, ok
}

// Len reports how many labels the index holds.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.labels)
}
