package crashfs_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

// A sync fails once, and what was appended is durable all the same.
func ExampleFail() {
	var disk crashfs.FS
	s, err := spool.Open("queue", spool.Options{FS: &disk})
	if err != nil {
		fmt.Println(err)
		return
	}
	disk.SetHook(crashfs.Fail(crashfs.Sync, "*", 0, 1, syscall.EIO))
	_, err = s.Append([]byte("hello"))
	fmt.Println(err, s.Stats().Commits)

	after := disk.Crash(disk.Len(), crashfs.Lost) // the power fails
	s.Close()
	s, err = spool.Open("queue", spool.Options{FS: after})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	r, err := s.Reader("worker", spool.ReaderOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	rec, err := r.Next(context.Background())
	fmt.Println(string(rec.Payload), err)
	// Output:
	// <nil> 1
	// hello <nil>
}

// A disk may be full.
func ExampleFS_SetCapacity() {
	var disk crashfs.FS
	disk.SetCapacity(1 << 20)
	s, err := spool.Open("queue", spool.Options{FS: &disk})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	_, err = s.Append(make([]byte, 1<<20))
	fmt.Println(errors.Is(err, spool.ErrFull), errors.Is(err, syscall.ENOSPC))
	// Output: true true
}
