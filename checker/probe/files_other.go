//go:build !linux && !darwin

package probe

import "errors"

// OpenFiles bounds how many files this process may have open at a time.
func OpenFiles(uint64) error { return errors.ErrUnsupported }
