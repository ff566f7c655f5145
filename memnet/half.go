package memnet

import (
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A half is one direction of a connection: the bytes that one end, the writer,
// has written and the other end, the reader, has not read yet. Its methods lock
// mu themselves, except those whose comment says that mu is held.
//
// What a call gives is the first line that applies:
//
//	state                 read               write
//	its own end closed    net.ErrClosed      net.ErrClosed
//	its deadline passed   timeout            timeout
//	reset                 ECONNRESET         ECONNRESET
//	finished              bytes, then EOF    EPIPE
//	reader closed         -                  EPIPE
//	reader shut           EOF                succeeds, bytes are thrown away
//	reader stalled        bytes, then waits  waits
//	otherwise             bytes, then waits  until the buffer is full, then waits
type half struct {
	mu       sync.Mutex
	readable sync.Cond // something that readers look at has changed
	writable sync.Cond // something that writers look at has changed

	// guarded by mu

	buf     fifo
	head    int64 // bytes read, or thrown away
	tail    int64 // bytes written
	transit transit

	writerClosed bool // the writer has called Close
	readerClosed bool // the reader has called Close
	finished     bool // no more bytes will be written: CloseWrite or Close
	shut         bool // the reader has called CloseRead
	discarded    bool // CloseRead has thrown bytes away
	reset        bool
	stalled      bool
	writing      bool // a call of write has the turn

	readDeadline  deadline
	writeDeadline deadline
	readMarks     marks
	writeMarks    marks

	limitBytes int           // most bytes held, at least 1
	maxRead    int           // most bytes one read takes; 0: no limit
	maxWrite   int           // most bytes written at a time; 0: no limit
	latency    time.Duration // from write to read
}

// init makes the zero half ready.
func (h *half) init() {
	h.readable.L = &h.mu
	h.writable.L = &h.mu
	h.readDeadline.wake = h.expire
	h.writeDeadline.wake = h.expire
	h.transit.wake = h.arrive
}

// read waits for bytes and moves as many as there are into b.
func (h *half) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		n, err := h.ready()
		if err != nil {
			return 0, err
		}
		if len(b) == 0 {
			return 0, nil
		}
		if n > 0 {
			n = h.readMarks.cut(h.head, clip(min(n, len(b)), h.maxRead))
			h.buf.read(b[:n])
			h.head += int64(n)
			h.writable.Broadcast()
			h.runMarks(&h.readMarks, &h.head)
			return n, nil
		}
		h.readable.Wait()
	}
}

// waitRead waits until read would not. It returns nil for bytes and for the end
// of the stream, and otherwise what read would return.
func (h *half) waitRead() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		n, err := h.ready()
		if err == io.EOF {
			return nil
		}
		if n > 0 || err != nil {
			return err
		}
		h.readable.Wait()
	}
}

// ready returns how many bytes a read may take now, or why there will be none.
// mu is held.
func (h *half) ready() (int, error) {
	switch {
	case h.readerClosed:
		return 0, net.ErrClosed
	case h.readDeadline.passed():
		return 0, os.ErrDeadlineExceeded
	case h.reset:
		return 0, syscall.ECONNRESET
	case h.shut:
		return 0, io.EOF
	}
	h.transit.land()
	n := min(h.transit.arrived, h.tail) - h.head
	if n == 0 && h.finished && h.transit.arrived > h.tail {
		return 0, io.EOF
	}
	return int(n), nil
}

// write moves all of b into the buffer, waiting for room as often as needed.
func (h *half) write(b []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.writing {
		if err := h.writeErr(); err != nil {
			return 0, err
		}
		h.writable.Wait()
	}
	h.writing = true
	defer h.endWrite()
	for {
		if err := h.writeErr(); err != nil {
			return n, err
		}
		k := h.put(b[n:])
		n += k
		switch {
		case n == len(b):
			return n, nil
		case k == 0:
			h.writable.Wait()
		case h.maxWrite > 0:
			// Let the reader see this piece before the next one.
			h.mu.Unlock()
			runtime.Gosched()
			h.mu.Lock()
		}
	}
}

// tryWrite moves as much of b into the buffer as fits now.
func (h *half) tryWrite(b []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writeErr(); err != nil || h.writing {
		return 0, err
	}
	h.writing = true
	defer h.endWrite()
	b = b[:clip(len(b), h.maxWrite)]
	for {
		// A mark splits b, and may have done something to the connection.
		k := h.put(b[n:])
		if n += k; k == 0 || n == len(b) {
			return n, nil
		}
		if err := h.writeErr(); err != nil {
			return n, err
		}
	}
}

// endWrite passes the turn on. mu is held.
func (h *half) endWrite() {
	h.writing = false
	h.writable.Broadcast()
}

// writeErr returns why nothing can be written. mu is held.
func (h *half) writeErr() error {
	switch {
	case h.writerClosed:
		return net.ErrClosed
	case h.writeDeadline.passed():
		return os.ErrDeadlineExceeded
	case h.reset:
		return syscall.ECONNRESET
	case h.finished, h.readerClosed:
		return syscall.EPIPE
	}
	return nil
}

// put moves a piece of b into the buffer and returns its length, 0 if there is
// no room. mu is held; put lets go of it while it calls a mark's function.
func (h *half) put(b []byte) int {
	n := clip(len(b), h.maxWrite)
	if !h.shut {
		n = min(n, h.room())
	}
	n = h.writeMarks.cut(h.tail, n)
	if n == 0 {
		return 0
	}
	h.tail += int64(n)
	if h.shut {
		h.head = h.tail
		h.discarded = true
	} else {
		h.buf.write(b[:n])
		h.transit.send(h.tail, h.latency)
		h.readable.Broadcast()
	}
	h.runMarks(&h.writeMarks, &h.tail)
	return n
}

// room returns how many bytes the buffer can take. mu is held.
func (h *half) room() int {
	if h.stalled {
		return 0
	}
	return max(0, h.limitBytes-int(h.tail-h.head))
}

// runMarks calls the functions of all marks that pos has reached. mu is held,
// but not during the calls; they may panic.
func (h *half) runMarks(m *marks, pos *int64) {
	for f := m.due(*pos); f != nil; f = m.due(*pos) {
		func() {
			h.mu.Unlock()
			defer h.mu.Lock()
			f()
		}()
	}
}

// addMark adds a mark to m, one of h's, and calls it if pos has reached it.
func (h *half) addMark(m *marks, pos *int64, offset int64, f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m.add(offset, f)
	h.runMarks(m, pos)
}

// finish ends the stream after what has been written. mu is held.
func (h *half) finish() {
	if h.finished {
		return
	}
	h.finished = true
	h.transit.send(h.tail+1, h.latency)
	h.wake()
}

// fail ends the stream at once. mu is held.
func (h *half) fail() {
	h.reset = true
	h.discard()
	h.wake()
}

// unread reports whether bytes have been written that were never read. mu is
// held.
func (h *half) unread() bool { return h.tail > h.head || h.discarded }

// discard throws away what is unread. mu is held.
func (h *half) discard() {
	h.buf.clear()
	h.head = h.tail
	h.transit.stop()
}

// wake lets all waiting calls look again. mu is held.
func (h *half) wake() {
	h.readable.Broadcast()
	h.writable.Broadcast()
}

// arrive is the timer function of the transit.
func (h *half) arrive() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.transit.land()
	h.transit.arm()
	h.readable.Broadcast()
}

// expire is the timer function of both deadlines.
func (h *half) expire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wake()
}

// clip returns n, or limit if that is less; a limit below 1 is none.
func clip(n, limit int) int {
	if limit > 0 {
		return min(n, limit)
	}
	return n
}
