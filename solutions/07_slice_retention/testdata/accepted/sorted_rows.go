// No map: the index is one sorted slice of arrays, searched by bisection. The
// label is read through an io.ReaderAt.

// Package label reads the label off a scanned parcel document.
package label

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"slices"
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
	at := bytes.Index(doc, []byte(Marker))
	if at < 0 {
		return nil, ErrNoLabel
	}
	return read(bytes.NewReader(doc), at)
}

func read(r io.ReaderAt, marker int) ([]byte, error) {
	label := make([]byte, Size)
	if n, _ := r.ReadAt(label, int64(marker+len(Marker))); n < Size {
		return nil, ErrNoLabel
	}
	return label, nil
}

// ExtractText is [Extract] for a document that is a string.
func ExtractText(doc string) (string, error) {
	at := strings.Index(doc, Marker)
	if at < 0 {
		return "", ErrNoLabel
	}
	label, err := read(strings.NewReader(doc), at)
	return string(label), err
}

type row [Size]byte

// Index holds the labels of a day by tracking number. It may be used from
// several goroutines at once.
type Index struct {
	mu   sync.RWMutex
	rows []row // sorted by tracking number
}

// NewIndex returns an empty index.
func NewIndex() *Index { return new(Index) }

func (x *Index) find(tracking string) (int, bool) {
	return slices.BinarySearchFunc(x.rows, tracking, func(r row, want string) int {
		return cmp.Compare(string(r[:TrackingSize]), want)
	})
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
	i, ok := x.find(tracking)
	if !ok {
		x.rows = slices.Insert(x.rows, i, row{})
	}
	copy(x.rows[i][:], label)
	return tracking
}

// Lookup returns the label with that tracking number, and whether there is one.
func (x *Index) Lookup(tracking string) (label string, ok bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	i, ok := x.find(tracking)
	if !ok {
		return "", false
	}
	return string(x.rows[i][:]), true
}

// Len reports how many labels the index holds.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.rows)
}
