// Package leaktest fails a package's tests if they leave goroutines behind.
package leaktest

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long goroutines that are about to end get to do so.
const patience = 5 * time.Second

// Main runs the tests and returns the exit code, which says failure also when
// goroutines are left. For a TestMain: os.Exit(leaktest.Main(m)).
func Main(m *testing.M) int {
	code := m.Run()
	if left := goroutines(patience); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines left after the tests:\n%s\n", left)
		code = 1
	}
	return code
}

// goroutines returns the stacks of all goroutines but the caller's and the
// runtime's, once those that are about to end have. Empty means none.
func goroutines(patience time.Duration) string {
	var left []string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		stacks := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
		left = slices.DeleteFunc(stacks[1:], func(stack string) bool { // the first is the caller
			return strings.Contains(stack, "os/signal.loop") // go test -fuzz has one
		})
		if len(left) == 0 {
			break
		}
	}
	return strings.Join(left, "\n\n")
}
