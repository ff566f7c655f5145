//go:build !linux

package spool

// Allocate does nothing: a full disk is noticed by the write.
func (f osFile) Allocate(int64) error { return nil }
