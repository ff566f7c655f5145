package faults

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// lines is the configuration of an output of lines, and the route to it.
func lines(addr string) string {
	return "[output.up]\nto = \"tcp://" + addr + "\"\nretry = \"20ms\"\nretry_max = \"100ms\"\n[route.all]\nto = [\"up\"]\n"
}

// kills is how often the daemon is killed: 50 times, or as HYTHE_KILLS says.
func kills() int {
	if n, err := strconv.Atoi(os.Getenv("HYTHE_KILLS")); err == nil {
		return n
	}
	return 50
}

func TestKill_NothingAcknowledgedIsLost(t *testing.T) {
	up := newSink(t)
	d := newDaemon(t, lines(up.addr))
	d.start()
	ctx, cancel := context.WithCancel(t.Context())
	acked := d.load(ctx, 4, 50)
	var slowest time.Duration
	n := kills()
	for range n {
		time.Sleep(20*time.Millisecond + rand.N(150*time.Millisecond))
		d.kill()
		slowest = max(slowest, d.start())
	}
	cancel()
	sent := acked()
	d.settled("up", 30*time.Second)
	if code := d.stop(); code != 0 {
		t.Errorf("exit status %d:\n%s", code, d.output)
	}
	missing, twice := up.missing(sent)
	t.Logf("%d kills: %d messages acknowledged, %d lost, %d delivered twice, slowest start %v", n, len(sent), len(missing), twice, slowest)
	if len(missing) > 0 {
		t.Errorf("lost: %d, as %v", len(missing), missing[:min(5, len(missing))])
	}
	if len(sent) < 50*n {
		t.Errorf("only %d messages were acknowledged: the daemon hardly ran", len(sent))
	}
}

// The upstream is away while messages come, the daemon is killed, and then the
// upstream comes back.
func TestKill_WithTheUpstreamAway(t *testing.T) {
	up := newSink(t)
	up.down()
	d := newDaemon(t, lines(up.addr))
	d.start()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	sent := d.load(ctx, 4, 50)()
	d.kill()
	d.start()
	_, v := d.delivery("up")
	if int(v.Backlog) < len(sent) {
		t.Errorf("backlog %d of %d", v.Backlog, len(sent))
	}
	up.up()
	d.settled("up", 30*time.Second)
	d.stop()
	if missing, twice := up.missing(sent); len(missing) > 0 || twice > 0 {
		t.Errorf("%d acknowledged: %d lost, %d twice", len(sent), len(missing), twice)
	}
}

// SIGTERM with a backlog ends in time and leaves the rest in the spool.
func TestTerm_LeavesTheBacklog(t *testing.T) {
	up := newSink(t)
	up.down()
	d := newDaemon(t, lines(up.addr))
	d.start()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	sent := d.load(ctx, 2, 50)()
	began := time.Now()
	if code := d.stop(); code != 0 || time.Since(began) > 5*time.Second {
		t.Errorf("exit status %d after %v", code, time.Since(began))
	}
	up.up()
	d.start()
	d.settled("up", 10*time.Second)
	if missing, _ := up.missing(sent); len(missing) > 0 {
		t.Errorf("%d of %d lost", len(missing), len(sent))
	}
}

// Under load, the configuration is read again a hundred times.
func TestReload_LosesNothing(t *testing.T) {
	up, second := newSink(t), newSink(t)
	one := lines(up.addr)
	both := one[:len(one)-len("to = [\"up\"]\n")] + "to = [\"up\", \"second\"]\n[output.second]\nto = \"tcp://" + second.addr + "\"\n"
	d := newDaemon(t, one)
	d.start()
	ctx, cancel := context.WithCancel(t.Context())
	acked := d.load(ctx, 4, 20)
	for i := range 100 {
		d.conf = one
		if i%2 == 0 {
			d.conf = both
		}
		d.configure()
		d.hangUp()
	}
	cancel()
	sent := acked()
	d.settled("up", 10*time.Second)
	if code := d.stop(); code != 0 {
		t.Errorf("exit status %d:\n%s", code, d.output)
	}
	missing, twice := up.missing(sent)
	t.Logf("%d acknowledged, %d lost, %d twice", len(sent), len(missing), twice)
	if len(missing) > 0 {
		t.Errorf("%d lost", len(missing))
	}
}
