// Converting between string and []byte copies, so two conversions of the 32
// bytes are a copy. A sync.Map holds the labels.

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

// Extract returns the label of doc, byte for byte, or ErrNoLabel.
func Extract(doc []byte) ([]byte, error) {
	label, err := cut(doc)
	if err != nil {
		return nil, err
	}
	return []byte(label), nil
}

func cut(doc []byte) (string, error) {
	i := bytes.Index(doc, []byte(Marker))
	if i < 0 || len(doc)-len(Marker)-i < Size {
		return "", ErrNoLabel
	}
	i += len(Marker)
	return string(doc[i : i+Size]), nil
}

// ExtractText is [Extract] for a document that is a string.
func ExtractText(doc string) (string, error) {
	i := strings.Index(doc, Marker)
	if i < 0 || len(doc)-len(Marker)-i < Size {
		return "", ErrNoLabel
	}
	i += len(Marker)
	return string([]byte(doc[i : i+Size])), nil
}

// Index holds the labels of a day by tracking number. It may be used from
// several goroutines at once.
type Index struct {
	labels sync.Map
}

// NewIndex returns an empty index.
func NewIndex() *Index { return new(Index) }

// Add puts the label of doc into the index and returns its tracking number.
func (x *Index) Add(doc []byte) (tracking string, err error) {
	label, err := cut(doc)
	if err != nil {
		return "", err
	}
	x.labels.Store(label[:TrackingSize], label)
	return label[:TrackingSize], nil
}

// AddText is [Index.Add] for a document that is a string.
func (x *Index) AddText(doc string) (tracking string, err error) {
	label, err := ExtractText(doc)
	if err != nil {
		return "", err
	}
	x.labels.Store(label[:TrackingSize], label)
	return label[:TrackingSize], nil
}

// Lookup returns the label with that tracking number, and whether there is one.
func (x *Index) Lookup(tracking string) (label string, ok bool) {
	v, ok := x.labels.Load(tracking)
	if !ok {
		return "", false
	}
	return v.(string), true
}

// Len reports how many labels the index holds.
func (x *Index) Len() int {
	n := 0
	x.labels.Range(func(any, any) bool { n++; return true })
	return n
}
