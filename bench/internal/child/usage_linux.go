package child

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Clock is the time in nanoseconds on a clock that all processes of the machine
// share.
func Clock() int64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail for this clock
	return t.Nano()
}

// CPUTime is what the process has used so far, all its threads together.
func CPUTime() (time.Duration, error) {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		return 0, os.NewSyscallError("getrusage", err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano()), nil
}

// ResidentBytes is the process's resident memory.
func ResidentBytes() (int64, error) { return rolledUp("self", "Rss:") }

// rolledUp returns a figure of a process's memory: exact, where
// /proc/self/statm is not.
func rolledUp(pid, key string) (int64, error) {
	f, err := os.Open(filepath.Join("/proc", pid, "smaps_rollup"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), key); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(v, "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in %s", key, f.Name())
}

// Tree returns what a process and its descendants have used: processor time, of
// the threads that still run, and resident memory, that which is shared
// counted once.
func Tree(pid int) (cpu time.Duration, rss int64, err error) {
	all := []string{strconv.Itoa(pid)}
	for i := 0; i < len(all); i++ {
		tasks, err := filepath.Glob(filepath.Join("/proc", all[i], "task", "*"))
		if err != nil {
			return 0, 0, err
		}
		for _, task := range tasks {
			b, err := os.ReadFile(filepath.Join(task, "schedstat"))
			if err != nil && i == 0 && task == tasks[0] {
				return 0, 0, err // of others it may be that they have ended just now
			}
			ns, _, _ := bytes.Cut(b, []byte(" "))
			n, _ := strconv.ParseInt(string(ns), 10, 64)
			cpu += time.Duration(n)
			children, _ := os.ReadFile(filepath.Join(task, "children"))
			all = append(all, strings.Fields(string(children))...)
		}
		bytes, err := rolledUp(all[i], "Pss:")
		if err != nil && i == 0 {
			return 0, 0, err
		}
		rss += bytes
	}
	return cpu, rss, nil
}
