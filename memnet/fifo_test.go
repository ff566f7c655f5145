package memnet

import (
	"bytes"
	"testing"
)

func TestFIFO(t *testing.T) {
	for _, size := range []int{0, 1, chunkBytes - 1, chunkBytes, chunkBytes + 1, 3*chunkBytes + 7} {
		for _, step := range []int{1, 1000, chunkBytes, 2*chunkBytes + 1} {
			want := make([]byte, size)
			for i := range want {
				want[i] = byte(i * 31 >> 3)
			}
			var q fifo
			for rest := want; len(rest) > 0; rest = rest[min(step, len(rest)):] {
				q.write(rest[:min(step, len(rest))])
			}
			var got []byte
			buf := make([]byte, step)
			for {
				n := q.read(buf)
				if n == 0 {
					break
				}
				got = append(got, buf[:n]...)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes in steps of %d: got %d bytes, other ones or too few", size, step, len(got))
			}
			if q.first != nil || q.last != nil {
				t.Errorf("%d bytes in steps of %d: an empty fifo holds a chunk", size, step)
			}
		}
	}
}

func TestFIFOClear(t *testing.T) {
	var q fifo
	q.write(make([]byte, 2*chunkBytes+1))
	q.clear()
	if n := q.read(make([]byte, 1)); n != 0 || q.first != nil || q.last != nil {
		t.Errorf("after clear: read = %d, first = %v, last = %v, want an empty fifo", n, q.first, q.last)
	}
}

func TestIdleConnHoldsNoBuffer(t *testing.T) {
	a, b := Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := a.Write(make([]byte, 10000)); err != nil {
		t.Fatal(err)
	}
	if b.in.buf.first == nil {
		t.Error("no chunk is held for unread bytes")
	}
	for read := 0; read < 10000; {
		n, err := b.Read(make([]byte, 4096))
		if err != nil {
			t.Fatal(err)
		}
		read += n
	}
	if b.in.buf.first != nil || b.in.buf.last != nil {
		t.Error("a chunk is held though all has been read")
	}

	// What nobody will read is not kept either.
	if _, err := a.Write(make([]byte, 10000)); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if b.in.buf.first != nil {
		t.Error("a chunk is held after Close")
	}
}
