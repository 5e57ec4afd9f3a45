// Extract clones; each index keeps its labels in blocks of 128 arrays, with a
// map from tracking number to place. A place that is replaced is used again.

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
	_, rest, found := bytes.Cut(doc, []byte(Marker))
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

const perBlock = 128

// Index holds the labels of a day by tracking number. It may be used from
// several goroutines at once.
type Index struct {
	mu     sync.Mutex
	blocks []*[perBlock][Size]byte
	places map[[TrackingSize]byte]int
}

// NewIndex returns an empty index.
func NewIndex() *Index {
	return &Index{places: make(map[[TrackingSize]byte]int)}
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
	key := [TrackingSize]byte([]byte(label[:TrackingSize]))
	x.mu.Lock()
	defer x.mu.Unlock()
	at, ok := x.places[key]
	if !ok {
		at = len(x.places)
		x.places[key] = at
		if at == len(x.blocks)*perBlock {
			x.blocks = append(x.blocks, new([perBlock][Size]byte))
		}
	}
	copy(x.blocks[at/perBlock][at%perBlock][:], label)
	return label[:TrackingSize]
}

// Lookup returns the label with that tracking number, and whether there is one.
func (x *Index) Lookup(tracking string) (label string, ok bool) {
	if len(tracking) != TrackingSize {
		return "", false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	at, ok := x.places[[TrackingSize]byte([]byte(tracking))]
	if !ok {
		return "", false
	}
	return string(x.blocks[at/perBlock][at%perBlock][:]), true
}

// Len reports how many labels the index holds.
func (x *Index) Len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.places)
}
