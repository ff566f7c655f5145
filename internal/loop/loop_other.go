//go:build !linux

package loop

import (
	"net"
	"time"
)

// Available says whether this system has loops.
const Available = false

// A Set cannot be made on this system.
type Set struct{}

// A Node is never used on this system.
type Node struct{}

// New returns ErrUnsupported.
func New(int, time.Time) (*Set, error) { return nil, ErrUnsupported }

func (*Set) Close()                     {}
func (*Set) Now() int64                 { return 0 }
func (*Set) Prepare(*Node, Task, int)   {}
func (*Node) Add() error                { return ErrUnsupported }
func (*Node) Remove()                   {}
func (*Node) Close()                    {}
func (*Node) Schedule()                 {}
func (*Node) Arm(int64)                 {}
func (*Node) Now() int64                { return 0 }
func (*Node) Read([]byte) (int, error)  { return 0, ErrUnsupported }
func (*Node) Write([]byte) (int, error) { return 0, ErrUnsupported }
func (*Node) CloseWrite() error         { return ErrUnsupported }
func (*Node) Abort()                    {}
func (*Node) Reset()                    {}
func (*Node) Gone() (bool, bool)        { return false, false }
func (*Node) FD() int                   { return -1 }

// WriteAll returns ErrUnsupported.
func (*Node) WriteAll([][]byte) (int, error) { return 0, ErrUnsupported }

// LocalAddr returns nil.
func (*Node) LocalAddr() net.Addr { return nil }
