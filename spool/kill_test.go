//go:build unix

package spool_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe/spool"
)

const killEnv = "SPOOL_KILL_CHILD"

// killOptions are those of the child and of the parent.
var killOptions = spool.Options{SegmentBytes: 1 << 20, MaxBytes: -1}

// What a process had been told is durable is there after it was killed.
func TestKilledProcessLosesNothing(t *testing.T) {
	if dir := os.Getenv(killEnv); dir != "" {
		killChild(dir)
		return
	}
	const kills = 24
	var (
		dir       = t.TempDir()
		acked     = make(map[uint64]uint64) // id: serial
		delivered = make(map[uint64]int)
		dups      int
		start     = time.Now()
		rng       = rand.New(rand.NewPCG(1, 1))
	)
	s, err := spool.Open(dir, killOptions)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"audit", "child"} { // cursors that hold everything back
		r, err := s.Reader(name, spool.ReaderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for kill := range kills {
		if time.Since(start) > 30*time.Second {
			t.Fatalf("only %d kills in 30 s", kill)
		}
		child := exec.Command(os.Args[0], "-test.run=^TestKilledProcessLosesNothing$", "-test.timeout=60s")
		child.Env = append(os.Environ(), killEnv+"="+dir, "SPOOL_KILL_ROUND="+strconv.Itoa(kill))
		var stderr bytes.Buffer
		child.Stderr = &stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		for first := true; ; first = false {
			line, err := lines.ReadString('\n')
			if err != nil {
				break // a line cut short was not said
			}
			if first { // it is running: its moment comes
				time.AfterFunc(time.Duration(20+rng.IntN(150))*time.Millisecond, func() { _ = child.Process.Kill() })
			}
			var id, serial, n uint64
			switch {
			case scan(line, "appended %d %d %d", &id, &n, &serial):
				for i := range n {
					if old, known := acked[id+i]; known {
						t.Fatalf("id %d was given to payloads %d and %d", id+i, old, serial+i)
					}
					acked[id+i] = serial + i
				}
			case scan(line, "delivered %d %d", &id, &serial):
				if delivered[id]++; delivered[id] > 1 {
					dups++
				}
				if want, known := acked[id]; known && want != serial {
					t.Fatalf("record %d was delivered with payload %d, want %d", id, serial, want)
				}
			case line != "running\n":
				t.Fatalf("the child says %q", line)
			}
		}
		if err := child.Wait(); err == nil || stderr.Len() > 0 {
			t.Fatalf("the child ended by itself: %v\n%s", err, stderr.Bytes())
		}
	}

	s, err = spool.Open(dir, killOptions)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// One reader finds all, the child's goes on where it was.
	found, rest := make(map[uint64]bool), make(map[uint64]bool)
	for name, ids := range map[string]map[uint64]bool{"audit": found, "child": rest} {
		r, err := s.Reader(name, spool.ReaderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for seen, last := lowOf(s, name)-1, s.Stats().Next-1; seen < last; {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			records, err := readSome(ctx, r, 1000)
			cancel()
			if gap, ok := errors.AsType[*spool.GapError](err); ok && gap.Reason == spool.Unfinished {
				seen = gap.Last // a write that was cut off
				continue
			}
			if err != nil {
				t.Fatalf("reader %s behind %d of %d: %v", name, seen, last, err)
			}
			for _, rec := range records {
				serial := serialOf(rec.Payload)
				if want, known := acked[rec.ID]; known && serial != want {
					t.Fatalf("record %d has payload %x, want %x", rec.ID, serial, want)
				}
				if !bytes.Equal(rec.Payload, makePayload(serial, len(rec.Payload))) {
					t.Fatalf("record %d has a payload that was never appended", rec.ID)
				}
				ids[rec.ID] = true
				seen = rec.ID
			}
			if err := r.AckThrough(seen); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	lost, skipped := 0, 0
	for id := range acked {
		if !found[id] {
			lost++
		}
		if delivered[id] == 0 && !rest[id] {
			skipped++
		}
	}
	t.Logf("%d kills in %v: %d acknowledged, %d lost; %d delivered, %d of them again; %d skipped",
		kills, time.Since(start).Round(time.Millisecond), len(acked), lost, len(delivered), dups, skipped)
	if lost > 0 || skipped > 0 || len(acked) < 100 || len(delivered) < 100 {
		t.Errorf("lost %d, skipped %d of %d, delivered %d", lost, skipped, len(acked), len(delivered))
	}
}

func scan(line, format string, args ...any) bool {
	n, err := fmt.Sscanf(line, format, args...)
	return err == nil && n == len(args)
}

// killChild appends and reads until it is killed, and says what it was
// promised, and what it was given before it acknowledges it.
func killChild(dir string) {
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
	}
	s, err := spool.Open(dir, killOptions)
	check(err)
	fmt.Println("running")
	round, _ := strconv.ParseUint(os.Getenv("SPOOL_KILL_ROUND"), 10, 64)
	var wg sync.WaitGroup
	for i := range uint64(3) {
		wg.Go(func() {
			for serial := round<<40 | i<<36; ; {
				payloads := make([][]byte, 1+serial%7)
				for k := range payloads {
					payloads[k] = makePayload(serial+uint64(k), int(100+serial%300))
				}
				first, err := s.Append(payloads...)
				check(err)
				fmt.Printf("appended %d %d %d\n", first, len(payloads), serial)
				serial += uint64(len(payloads))
			}
		})
	}
	wg.Go(func() {
		r, err := s.Reader("child", spool.ReaderOptions{})
		check(err)
		for {
			records, err := readSome(context.Background(), r, 50)
			if gap, ok := errors.AsType[*spool.GapError](err); ok && gap.Reason == spool.Unfinished {
				continue // what the kill before this one cut off
			}
			check(err)
			var b bytes.Buffer
			for _, rec := range records {
				fmt.Fprintf(&b, "delivered %d %d\n", rec.ID, serialOf(rec.Payload))
			}
			_, err = os.Stdout.Write(b.Bytes())
			check(err)
			check(r.AckThrough(records[len(records)-1].ID))
		}
	})
	wg.Wait()
	check(errors.New("ended"))
}
