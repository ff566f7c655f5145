//go:build !linux && !darwin && !windows

package link

import "time"

// setUserTimeout does nothing: the system has no such option.
func setUserTimeout(uintptr, time.Duration) error { return nil }
