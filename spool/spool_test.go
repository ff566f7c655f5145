package spool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/hythe-go/hythe/internal/leaktest"
	"github.com/hythe-go/hythe/spool"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// open opens a spool and closes it after the test.
func open(t testing.TB, dir string, o spool.Options) *spool.Spool {
	t.Helper()
	s, err := spool.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func reader(t testing.TB, s *spool.Spool, name string) *spool.Reader {
	t.Helper()
	r, err := s.Reader(name, spool.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func add(t testing.TB, s *spool.Spool, texts ...string) uint64 {
	t.Helper()
	var payloads [][]byte
	for _, text := range texts {
		payloads = append(payloads, []byte(text))
	}
	first, err := s.Append(payloads...)
	if err != nil {
		t.Fatal(err)
	}
	return first
}

// want reads records, which must have these ids and payloads.
func want(t testing.TB, r *spool.Reader, first uint64, texts ...string) {
	t.Helper()
	for i, text := range texts {
		rec, err := r.Next(context.Background())
		if err != nil {
			t.Fatalf("Next = %v, want %q", err, text)
		}
		if rec.ID != first+uint64(i) || string(rec.Payload) != text {
			t.Fatalf("Next = %d %q, want %d %q", rec.ID, rec.Payload, first+uint64(i), text)
		}
	}
}

// wantNone checks that there is nothing to read.
func wantNone(t testing.TB, r *spool.Reader) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if rec, err := peek(ctx, r); !errors.Is(err, context.Canceled) {
		t.Fatalf("Next = %d %q, %v, want nothing", rec.ID, rec.Payload, err)
	}
}

func peek(ctx context.Context, r *spool.Reader) (spool.Record, error) { return r.Next(ctx) }

func TestAppend_IsReadInOrder(t *testing.T) {
	s := open(t, t.TempDir(), spool.Options{})
	r := reader(t, s, "r")
	if id := add(t, s, "a", "", "c"); id != 1 {
		t.Errorf("first id = %d", id)
	}
	add(t, s, "d")
	want(t, r, 1, "a", "", "c", "d")
	for id := range uint64(4) {
		if err := r.Ack(id + 1); err != nil {
			t.Error(err)
		}
	}
	if err := r.Ack(1); err != spool.ErrNotPending {
		t.Errorf("second Ack = %v", err)
	}
}

func TestReopen_GoesOnWhereItWas(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, spool.Options{SegmentBytes: 200})
	r := reader(t, s, "r")
	for i := range 20 {
		add(t, s, fmt.Sprint("message ", i+1))
	}
	want(t, r, 1, "message 1", "message 2", "message 3")
	r.AckThrough(2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, spool.Options{SegmentBytes: 200})
	add(t, s, "message 21")
	r = reader(t, s, "r")
	var all []string
	for i := 3; i <= 21; i++ {
		all = append(all, fmt.Sprint("message ", i))
	}
	want(t, r, 3, all...)
	r.AckThrough(21)
	s.Sync()
	if st := s.Stats(); st.Segments != 1 || st.Readers[0].Backlog != 0 {
		t.Errorf("%+v", st)
	}
}
