//go:build race

package probe

// Race reports whether the binary was built with the race detector.
const Race = true
