package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// child is what the process does instead of testing if its first argument says
// so; see main_linux_test.go.
var child = map[string]func([]string) error{}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if run := child[os.Args[1]]; run != nil {
			if err := run(os.Args[1:]); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	code := m.Run()
	if left := leakedGoroutines(); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines left after the tests:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// leakedGoroutines returns the stacks of all goroutines but the caller's, once
// those that are about to end have had two seconds to do so. Empty means none.
func leakedGoroutines() string {
	var left string
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		var more bool
		if _, left, more = strings.Cut(string(buf[:runtime.Stack(buf, true)]), "\n\n"); !more {
			return ""
		}
	}
	return left
}
