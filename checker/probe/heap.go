package probe

import (
	"runtime"
	"testing"
)

// NeedsPlainHeap skips a test that counts bytes or allocations when the race
// detector is on: it pads objects and makes sync.Pool forget at random, so the
// figures mean nothing. The checker runs such a test in the perf profile.
func NeedsPlainHeap(t testing.TB) {
	t.Helper()
	if Race {
		t.Skip("heap figures mean nothing under -race; run this one without it")
	}
}

// Retained reports how many bytes stay reachable through what build returns,
// after full collections. It measures twice and returns the smaller figure,
// because the runtime itself may allocate in between. Other goroutines must
// not allocate meanwhile, and the test must have called [NeedsPlainHeap].
func Retained(t testing.TB, build func() any) uint64 {
	t.Helper()
	least := ^uint64(0)
	for range 2 {
		before := heapInUse()
		v := build()
		after := heapInUse()
		runtime.KeepAlive(v)
		if after < before {
			after = before
		}
		least = min(least, after-before)
	}
	return least
}

// heapInUse reports the bytes of live objects. Two collections: the first may
// only queue finalizers, weak pointers and pool victims that the second frees.
func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
