// Arrays are values: a map of arrays holds no pointer at all, and the
// collector need not look into it.

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

type fixed [Size]byte

// Extract returns the label of doc, byte for byte, or ErrNoLabel.
func Extract(doc []byte) ([]byte, error) {
	_, rest, found := bytes.Cut(doc, []byte(Marker))
	if !found || len(rest) < Size {
		return nil, ErrNoLabel
	}
	label := fixed(rest[:Size])
	return label[:], nil
}

// ExtractText is [Extract] for a document that is a string.
func ExtractText(doc string) (string, error) {
	label, err := fix(doc)
	if err != nil {
		return "", err
	}
	return string(label[:]), nil
}

func fix(doc string) (label fixed, err error) {
	_, rest, found := strings.Cut(doc, Marker)
	if !found || copy(label[:], rest) < Size {
		return fixed{}, ErrNoLabel
	}
	return label, nil
}

// Index holds the labels of a day by tracking number. It may be used from
// several goroutines at once.
type Index struct {
	mu     sync.RWMutex
	labels map[[TrackingSize]byte]fixed
}

// NewIndex returns an empty index.
func NewIndex() *Index {
	return &Index{labels: make(map[[TrackingSize]byte]fixed)}
}

// Add puts the label of doc into the index and returns its tracking number.
func (x *Index) Add(doc []byte) (tracking string, err error) {
	label, err := Extract(doc)
	if err != nil {
		return "", err
	}
	return x.put(fixed(label)), nil
}

// AddText is [Index.Add] for a document that is a string.
func (x *Index) AddText(doc string) (tracking string, err error) {
	label, err := fix(doc)
	if err != nil {
		return "", err
	}
	return x.put(label), nil
}

func (x *Index) put(label fixed) (tracking string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.labels[[TrackingSize]byte(label[:TrackingSize])] = label
	return string(label[:TrackingSize])
}

// Lookup returns the label with that tracking number, and whether there is one.
func (x *Index) Lookup(tracking string) (label string, ok bool) {
	if len(tracking) != TrackingSize {
		return "", false
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	found, ok := x.labels[[TrackingSize]byte([]byte(tracking))]
	if !ok {
		return "", false
	}
	return string(found[:]), true
}

// Len reports how many labels the index holds.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.labels)
}
