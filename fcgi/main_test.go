package fcgi

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv(spawnedEnv) != "" {
		spawnedMain()
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
	var left []string
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
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
