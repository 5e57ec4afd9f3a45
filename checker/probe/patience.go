package probe

import (
	"sync/atomic"
	"time"
)

// Patience is how long the tests of a lesson wait for what must come. Sound
// code never uses it up. Once somebody has waited in vain, the verdict is
// clear, and the others wait less.
type Patience struct {
	Full  time.Duration
	Short time.Duration // from then on

	inVain atomic.Bool
}

// Limit is how long to wait now.
func (p *Patience) Limit() time.Duration {
	if p.inVain.Load() {
		return p.Short
	}
	return p.Full
}

// InVain notes that somebody has waited in vain.
func (p *Patience) InVain() { p.inVain.Store(true) }

// Eventually polls until cond holds, and gives up when patience is used up.
func (p *Patience) Eventually(cond func() bool) bool {
	if Poll(p.Limit(), cond) {
		return true
	}
	p.InVain()
	return false
}

// Poll asks until cond holds or the time is up, and reports whether it holds.
func Poll(limit time.Duration, cond func() bool) bool {
	for end := time.Now().Add(limit); ; time.Sleep(200 * time.Microsecond) {
		if cond() {
			return true
		}
		if time.Now().After(end) {
			return cond()
		}
	}
}
