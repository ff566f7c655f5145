package main

import (
	"math/bits"
	"time"
)

// subBits is how many bits of a value, after its first, choose its bucket: a
// bucket is no wider than 1/64 of the values in it.
const subBits = 6

// A histogram counts durations. The zero histogram is empty.
type histogram struct {
	counts [(64 - subBits) << subBits]uint64
	n      uint64
	max    time.Duration
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))]++
	h.n++
	h.max = max(h.max, d)
}

// bucket returns the index of a value's bucket. Values below 2<<subBits have
// one each; above, each power of two has 1<<subBits.
func bucket(v uint64) int {
	shift := max(bits.Len64(v)-subBits-1, 0)
	return shift<<subBits + int(v>>shift)
}

// lowest returns the smallest value of a bucket.
func lowest(i int) uint64 {
	shift := max(i>>subBits-1, 0)
	return uint64(i-shift<<subBits) << shift
}

// quantile returns the duration below which the fraction q of those counted lie,
// to within 1/64; 0 if there are none.
func (h *histogram) quantile(q float64) time.Duration {
	rank := uint64(q * float64(h.n))
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen > rank {
			return min(time.Duration(lowest(i)), h.max)
		}
	}
	return h.max
}
