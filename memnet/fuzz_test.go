package memnet_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe/memnet"
)

// A model is what one end must do, in the plainest form.
type model struct {
	in                     []byte // what the peer has written and this end has not read
	total                  byte   // counts the bytes written, to make each different
	closed, finished, shut bool
	reset, discarded       bool
}

// FuzzConn runs a script of calls, none of which waits, on a connection and on
// two models, and compares what they say. Of each byte of the script two bits
// are the call, one the end, and the rest a length.
func FuzzConn(f *testing.F) {
	f.Add([]byte("\x08\x29\x28\x0b\x4b\x21\xff"))
	f.Add([]byte("\x88\x8c\x89\x8d\x03\x07\x0b\x0f\x89\x8d"))
	f.Add([]byte{0xf8, 0x13, 0x1b, 0x03, 0xf9, 0x0b})
	f.Fuzz(func(t *testing.T, script []byte) {
		script = script[:min(len(script), 1000)]
		const bound = 40
		network := memnet.Network{Buffer: bound}
		a, b := network.Pipe()
		conns := [2]*memnet.Conn{a, b}
		var models [2]model
		defer a.Close()
		defer b.Close()

		for i, op := range script {
			side, length := int(op>>2&1), int(op>>3)
			c, m, peer := conns[side], &models[side], &models[1-side]
			check := func(call string, n, wantN int, err, wantErr error) {
				t.Helper()
				if n != wantN || !errors.Is(err, wantErr) {
					t.Fatalf("call %d: %s on end %d = %d, %v, want %d, %v", i, call, side, n, err, wantN, wantErr)
				}
			}
			switch op & 3 {
			case 0: // TryWrite
				buf := make([]byte, length)
				for j := range buf {
					buf[j] = m.total + byte(j)
				}
				var want int
				var wantErr error
				switch {
				case m.closed:
					wantErr = net.ErrClosed
				case m.reset:
					wantErr = syscall.ECONNRESET
				case m.finished || peer.closed:
					wantErr = syscall.EPIPE
				case peer.shut:
					want = length
					peer.discarded = peer.discarded || want > 0
				default:
					want = min(length, bound-len(peer.in))
					peer.in = append(peer.in, buf[:want]...)
				}
				m.total += byte(want)
				n, err := c.TryWrite(buf)
				check("TryWrite", n, want, err, wantErr)
			case 1: // Read
				var want []byte
				var wantErr error
				switch {
				case m.closed:
					wantErr = net.ErrClosed
				case m.reset:
					wantErr = syscall.ECONNRESET
				case m.shut, len(m.in) == 0 && (peer.finished || peer.closed):
					wantErr = io.EOF
				case len(m.in) == 0:
					continue // it would wait
				default:
					want = m.in[:min(length, len(m.in))]
					m.in = m.in[len(want):]
				}
				buf := make([]byte, length)
				c.SetReadDeadline(time.Now().Add(10 * time.Second)) // to fail, not to hang
				n, err := c.Read(buf)
				check("Read", n, len(want), err, wantErr)
				if !bytes.Equal(buf[:n], want) {
					t.Fatalf("call %d: Read = %x, want %x", i, buf[:n], want)
				}
			case 2: // one of the half-closes
				var wantErr error
				switch {
				case m.closed:
					wantErr = net.ErrClosed
				case m.reset:
					wantErr = syscall.ENOTCONN
				case length%2 == 0:
					m.finished = true
				default:
					m.shut = true
					m.discarded = m.discarded || len(m.in) > 0
					m.in = nil
				}
				if length%2 == 0 {
					check("CloseWrite", 0, 0, c.CloseWrite(), wantErr)
				} else {
					check("CloseRead", 0, 0, c.CloseRead(), wantErr)
				}
			case 3: // Close, seldom Reset
				if length == 0 {
					c.Reset()
					m.reset, peer.reset = true, true
					m.in, peer.in = nil, nil
					continue
				}
				var wantErr error
				if m.closed {
					wantErr = net.ErrClosed
				} else if m.closed = true; len(m.in) > 0 || m.discarded {
					m.reset, peer.reset = true, true
					m.in, peer.in = nil, nil
				}
				check("Close", 0, 0, c.Close(), wantErr)
			}
		}
	})
}
