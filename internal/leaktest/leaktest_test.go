package leaktest

import (
	"strings"
	"testing"
	"time"
)

func TestGoroutinesNamesThoseThatAreLeft(t *testing.T) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		<-stop
		close(stopped)
	}()
	if left := goroutines(20 * time.Millisecond); !strings.Contains(left, "TestGoroutinesNamesThoseThatAreLeft") {
		t.Errorf("a goroutine that is left was not named:\n%s", left)
	}
	close(stop)
	<-stopped
}
