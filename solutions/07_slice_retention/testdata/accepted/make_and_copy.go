// A made slice of the label's size, filled by copy; the text goes through a
// strings.Builder; key and value of the map are copied one by one.

// Package label reads the label off a scanned parcel document.
package label

import (
	"bytes"
	"errors"
	"fmt"
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

// Extract returns the label of doc, byte for byte, or ErrNoLabel.
func Extract(doc []byte) ([]byte, error) {
	i := bytes.Index(doc, []byte(Marker))
	if i < 0 {
		return nil, ErrNoLabel
	}
	if i += len(Marker); len(doc)-i < Size {
		return nil, fmt.Errorf("%w: %d of %d bytes", ErrNoLabel, len(doc)-i, Size)
	}
	label := make([]byte, Size)
	copy(label, doc[i:])
	return label, nil
}

// ExtractText is [Extract] for a document that is a string.
func ExtractText(doc string) (string, error) {
	i := strings.Index(doc, Marker)
	if i < 0 || len(doc) < i+len(Marker)+Size {
		return "", ErrNoLabel
	}
	var b strings.Builder
	b.Grow(Size)
	b.WriteString(doc[i+len(Marker) : i+len(Marker)+Size])
	return b.String(), nil
}

// Index holds the labels of a day by tracking number. It may be used from
// several goroutines at once.
type Index struct {
	mu     sync.RWMutex
	labels map[string]string // tracking number to label
}

// NewIndex returns an empty index.
func NewIndex() *Index {
	return &Index{labels: make(map[string]string)}
}

// Add puts the label of doc into the index and returns its tracking number.
func (x *Index) Add(doc []byte) (tracking string, err error) {
	label, err := Extract(doc)
	if err != nil {
		return "", err
	}
	tracking = string(label[:TrackingSize])
	x.mu.Lock()
	defer x.mu.Unlock()
	x.labels[tracking] = string(label)
	return tracking, nil
}

// AddText is [Index.Add] for a document that is a string.
func (x *Index) AddText(doc string) (tracking string, err error) {
	label, err := ExtractText(doc)
	if err != nil {
		return "", err
	}
	tracking = strings.Clone(label[:TrackingSize])
	x.mu.Lock()
	defer x.mu.Unlock()
	x.labels[tracking] = label
	return tracking, nil
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
