// finding: label.shared

// The same buffer behind a mutex: the write is guarded, the caller who reads
// its label is not, and each document overwrites the labels before it all the
// same.

// Package label reads the label off a scanned parcel document.
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

var (
	scratchMu sync.Mutex
	scratch   [Size]byte
)

// Extract returns the label of doc, byte for byte, or ErrNoLabel.
func Extract(doc []byte) ([]byte, error) {
	_, rest, found := bytes.Cut(doc, []byte(Marker))
	if !found || len(rest) < Size {
		return nil, ErrNoLabel
	}
	scratchMu.Lock()
	defer scratchMu.Unlock()
	copy(scratch[:], rest)
	return scratch[:], nil
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
