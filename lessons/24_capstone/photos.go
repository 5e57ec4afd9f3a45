package dispatchd

import "sync"

// photos keeps the newest pictures of parcels, so many bytes of them.
type photos struct {
	mu    sync.Mutex
	room  int64
	held  int64
	order []string // oldest first
	byID  map[string][]byte
}

func newPhotos(room int64) *photos { return &photos{room: room, byID: map[string][]byte{}} }

func (p *photos) put(id string, b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if int64(len(b)) > p.room {
		return
	}
	if old, ok := p.byID[id]; ok {
		p.held += int64(len(b) - len(old))
	} else {
		p.held += int64(len(b))
		p.order = append(p.order, id)
	}
	p.byID[id] = b
	for p.held > p.room {
		oldest := p.order[0]
		p.order = p.order[1:]
		p.held -= int64(len(p.byID[oldest]))
		delete(p.byID, oldest)
	}
}

func (p *photos) get(id string) ([]byte, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, ok := p.byID[id]
	return b, ok
}
