package spool

import (
	"errors"
	"fmt"
)

// Errors that callers can match.
var (
	// ErrFull means that there is no room: the spool has reached
	// Options.MaxBytes, or the disk is full, in which case it is joined with the
	// system's error. It goes away by itself when readers acknowledge or the
	// disk has room again.
	ErrFull = errors.New("spool: full")

	// ErrBusy means that too much waits for the disk already. Only Submit
	// returns it; Append waits.
	ErrBusy = errors.New("spool: the disk does not keep up")

	// ErrTooLarge means that a payload is larger than Options.MaxRecord.
	ErrTooLarge = errors.New("spool: payload too large")

	// ErrClosed means that the spool, or the reader, has been closed.
	ErrClosed = errors.New("spool: closed")

	// ErrLocked means that the directory is open already, most likely in another
	// process.
	ErrLocked = errors.New("spool: directory in use")

	// ErrVersion means that a newer version has written to the directory.
	ErrVersion = errors.New("spool: written by a newer version")

	// ErrReaderOpen means that a reader of that name is open already.
	ErrReaderOpen = errors.New("spool: reader is open already")

	// ErrNotPending means that a record is not waiting to be acknowledged: it
	// was never read, or it was acknowledged or requeued already.
	ErrNotPending = errors.New("spool: record is not pending")
)

// Reason says why records cannot be read.
type Reason uint8

const (
	// Damaged records were made durable and cannot be read back: a checksum
	// does not match, or they are not there.
	Damaged Reason = iota + 1

	// Unfinished records were being written when the process or the machine
	// died. Most likely nobody was told that they are durable.
	Unfinished

	// Dropped records made room for newer ones, under DropOldest.
	Dropped

	// Expired records were older than Options.MaxAge.
	Expired
)

var reasons = [...]string{"unknown", "damaged", "unfinished", "dropped", "expired"}

// String returns the reason in one word, fit for a metric's label.
func (r Reason) String() string {
	if int(r) < len(reasons) {
		return reasons[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// A GapError says that the records from First to Last cannot be read. A Reader
// returns it once and goes on behind them.
type GapError struct {
	First, Last uint64
	Reason      Reason
}

func (e *GapError) Error() string {
	return fmt.Sprintf("spool: records %d to %d are %v", e.First, e.Last, e.Reason)
}
