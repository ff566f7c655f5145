package hythetest

import (
	"bytes"
	"fmt"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// labelKey is the profiler label of the goroutines that a server has started,
// directly or not.
const labelKey = "hythetest"

var labels atomic.Uint64

func newLabel() string { return strconv.FormatUint(labels.Add(1), 10) }

// grace is how long goroutines may take to notice that their server has ended.
const grace = 2 * time.Second

// awaitGoroutines waits for the goroutines with a label to end, and returns the
// stacks of those that have not within the grace. Nothing tells of the end of a
// goroutine, so it looks again and again.
func awaitGoroutines(label string) string {
	end := time.Now().Add(grace)
	for pause := time.Millisecond; ; pause = min(2*pause, grace/20) {
		left := goroutines(label)
		if left == "" || time.Now().After(end) {
			return left
		}
		time.Sleep(pause)
	}
}

// goroutines returns the stacks of all goroutines with a label.
func goroutines(label string) string {
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		return err.Error()
	}
	mark := fmt.Sprintf("%q:%q", labelKey, label)
	var left []string
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		if head, _, _ := strings.Cut(stack, "\n#\t"); strings.Contains(head, mark) {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}
