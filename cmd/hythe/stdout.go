package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
)

// standardOutput is a destination that is there until it breaks, for good.
type standardOutput struct{ w io.Writer }

func (s standardOutput) open(_ context.Context, broke error) (connection, error) {
	switch {
	case broke == nil:
		return s, nil
	case errors.Is(broke, syscall.EPIPE):
		return nil, errors.New("nobody reads standard output any more")
	}
	return nil, fmt.Errorf("standard output: %w", broke)
}

func (s standardOutput) Write(lines []byte) (int, error) { return s.w.Write(lines) }
func (s standardOutput) gone() <-chan struct{}           { return nil }
func (s standardOutput) finish(context.Context)          {}
func (s standardOutput) abort()                          {}
