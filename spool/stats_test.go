package spool_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

func TestStats_CountEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk crashfs.FS
		s := open(t, "q", spool.Options{FS: &disk, SegmentBytes: 1})
		if st := s.Stats(); st.Next != 1 || st.First != 1 || st.Segments != 0 || st.Bytes != 0 || st.Age != 0 || st.Readers != nil {
			t.Errorf("of an empty spool: %+v", st)
		}
		b, a := reader(t, s, "b"), reader(t, s, "a")
		add(t, s, "x", "y")
		time.Sleep(time.Minute)
		add(t, s, "z")
		want(t, a, 1, "x", "y")
		a.AckThrough(1)
		b.Close()
		st := s.Stats()
		// The heads of two segments, of two batches and of three records.
		const bytes = 2*(24+20) + 2*(24+12) + 3*24 + 3
		if st.Next != 4 || st.First != 1 || st.Segments != 2 || st.Bytes != bytes || st.Age != time.Minute || st.Commits != 2 || st.Failures != 0 || st.Refused != 0 {
			t.Errorf("%+v, want %d bytes", st, bytes)
		}
		if len(st.Readers) != 2 {
			t.Fatalf("%+v", st.Readers)
		}
		for i, want := range []spool.ReaderStats{{Name: "a", Open: true, Low: 2, Backlog: 2}, {Name: "b", Low: 1, Backlog: 3}} {
			got := st.Readers[i]
			if got.Lost != nil || got.Name != want.Name || got.Open != want.Open || got.Low != want.Low || got.Backlog != want.Backlog {
				t.Errorf("%+v, want %+v", got, want)
			}
		}
		// They are the same after a restart.
		s.Close()
		s = open(t, "q", spool.Options{FS: &disk})
		if again := s.Stats(); again.Next != 4 || again.Bytes != bytes || again.Age != time.Minute || again.Commits != 0 || again.Readers[0].Low != 2 {
			t.Errorf("after a restart: %+v", again)
		}
	})
}
