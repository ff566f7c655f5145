package spool_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/hythe-go/hythe/spool"
)

const benchPayload = 256

// benchSpool opens a spool without a bound on the disk.
func benchSpool(b *testing.B) *spool.Spool {
	return open(b, b.TempDir(), spool.Options{MaxBytes: -1})
}

func payloads(n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = make([]byte, benchPayload)
		for k := range all[i] {
			all[i][k] = byte(i * k)
		}
	}
	return all
}

// perMessage reports what one message cost.
func perMessage(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/msg")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "msg/s")
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, batch := benchSpool(b), payloads(n)
			b.SetBytes(int64(n) * benchPayload)
			b.ReportAllocs()
			done := 0
			cpu := cpuTime()
			for b.Loop() {
				if _, err := s.Append(batch...); err != nil {
					b.Fatal(err)
				}
				done += n
			}
			b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(done), "cpu-ns/msg")
			perMessage(b, done)
		})
	}
}

// Eight callers submit single messages as fast as they are taken.
func BenchmarkSubmit(b *testing.B) {
	s, one := benchSpool(b), payloads(1)
	b.SetBytes(benchPayload)
	b.ReportAllocs()
	b.SetParallelism(4)
	var told sync.WaitGroup
	cpu := cpuTime()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			told.Add(1)
			done := func(_ uint64, err error) {
				if err != nil {
					b.Error(err)
				}
				told.Done()
			}
			switch err := s.Submit(one, done); err {
			case nil:
			case spool.ErrBusy: // wait our turn
				_, err := s.Append(one...)
				done(0, err)
			default:
				b.Error(err)
				return
			}
		}
	})
	told.Wait()
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/msg")
	b.ReportMetric(float64(s.Stats().Next-1)/float64(s.Stats().Commits), "msg/sync")
}

// filled returns a spool with n messages.
func filled(b *testing.B, n int) *spool.Spool {
	s, batch := benchSpool(b), payloads(1000)
	for range n / 1000 {
		if _, err := s.Append(batch...); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func BenchmarkRead(b *testing.B) {
	const n = 200_000
	s, readers := filled(b, n), 0
	for _, most := range []int{1, 256} {
		b.Run(fmt.Sprint(most), func(b *testing.B) {
			b.SetBytes(n * benchPayload)
			b.ReportAllocs()
			to := make([]spool.Record, most)
			rounds := 0
			for b.Loop() {
				r := reader(b, s, fmt.Sprint("reader-", readers))
				readers++
				for got := 0; got < n; {
					k, err := r.Read(context.Background(), to)
					if err != nil {
						b.Fatal(err)
					}
					got += k
					if err := r.AckThrough(to[k-1].ID); err != nil {
						b.Fatal(err)
					}
				}
				r.Close()
				rounds++
			}
			perMessage(b, rounds*n)
		})
	}
}

// One message after the other is read and acknowledged on its own, the way a
// worker does, once with an empty window and once with a full one whose oldest
// is acknowledged.
func BenchmarkAck(b *testing.B) {
	for _, ahead := range []int{0, 4095} {
		b.Run(fmt.Sprint(ahead, "-pending"), func(b *testing.B) {
			const n = 200_000
			s := filled(b, n)
			rounds, all := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				r := reader(b, s, fmt.Sprint("reader", rounds))
				for i := range n {
					if _, err := r.Next(context.Background()); err != nil {
						b.Fatal(err)
					}
					if i >= ahead {
						if err := r.Ack(uint64(i - ahead + 1)); err != nil {
							b.Fatal(err)
						}
						all++
					}
				}
				r.Close()
				rounds++
			}
			perMessage(b, all)
		})
	}
}
