package main

import (
	"testing"
	"time"
)

func TestBucket(t *testing.T) {
	last := -1
	for _, v := range []uint64{0, 1, 2, 63, 64, 127, 128, 130, 255, 256, 1000, 1 << 20, 1<<40 + 12345, 1<<63 - 1} {
		i := bucket(v)
		if i < last || i >= len(histogram{}.counts) {
			t.Errorf("bucket(%d) = %d after %d", v, i, last)
		}
		last = i
		if low := lowest(i); low > v || v-low > v/64 {
			t.Errorf("lowest(bucket(%d)) = %d, want at most 1/64 below", v, low)
		}
	}
	for i := range 5000 - 5000%64 {
		if i < len(histogram{}.counts) && bucket(lowest(i)) != i {
			t.Fatalf("bucket(lowest(%d)) = %d", i, bucket(lowest(i)))
		}
	}
}

func TestQuantile(t *testing.T) {
	var h histogram
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("quantile of nothing = %v, want 0", got)
	}
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Microsecond)
	}
	for _, tt := range []struct {
		q    float64
		want time.Duration
	}{
		{0, time.Microsecond},
		{0.5, 501 * time.Microsecond},
		{0.99, 991 * time.Microsecond},
		{1, 1000 * time.Microsecond},
	} {
		if got := h.quantile(tt.q); got > tt.want || got < tt.want-tt.want/32 {
			t.Errorf("quantile(%v) = %v, want %v or a little less", tt.q, got, tt.want)
		}
	}
	if h.max != time.Millisecond {
		t.Errorf("max = %v, want 1ms", h.max)
	}
}
