package fcgi

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// A body is one input stream of a request, STDIN or DATA: bytes that have come
// and that the handler has not read yet. The connection's turn adds to it, the
// handler reads. What is beyond the window waits in a temporary file.
type body struct {
	req *request

	mu       sync.Mutex
	more     sync.Cond // L is &mu: something has changed that Read waits for
	chunks   []*chunk
	r, w     int // the first unread byte of chunks[0], the first free one of the last chunk
	unread   int // bytes in chunks
	file     spill
	come     int64 // bytes received
	length   int64 // how many there will be; negative: unknown
	whole    bool  // all have come
	err      error // why no more will come, told after what has come
	dead     error // why nothing can be read any more
	spilling bool  // nobody reads: what does not fit goes to the file
	held     bool  // the connection's input is paused until there is room
	patience *time.Timer
	deadline time.Time // the handler's
}

const chunkBytes = 16 << 10

type chunk [chunkBytes]byte

var chunks = sync.Pool{New: func() any { return new(chunk) }}

func (b *body) init(req *request, length int64) {
	b.req, b.length, b.more.L = req, length, &b.mu
	b.whole = length == 0
}

// fullness is what became of bytes that were added.
type fullness uint8

const (
	roomy fullness = iota
	full           // more waits in memory than the window allows
	stuck          // and there is no room on disk
)

// add adds bytes that have come. spill says that they may go to the file if the
// window is full. Bytes beyond the body's length are dropped: section 6.2.
func (b *body) add(p []byte, spill bool) fullness {
	s := b.req.c.srv
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.whole || b.err != nil || b.dead != nil {
		return roomy
	}
	if b.length >= 0 {
		p = p[:min(int64(len(p)), b.length-b.come)]
	}
	if limit := s.bodyBytes(); int64(len(p)) > limit-b.come {
		p = p[:limit-b.come]
		b.err = &http.MaxBytesError{Limit: limit}
	}
	b.come += int64(len(p))
	b.whole = b.come == b.length
	window := s.bodyWindow()
	spill = spill || b.spilling
	if b.file.len() > 0 || spill && b.unread+len(p) > window {
		if err := b.file.add(p); err != nil {
			b.err = err
		}
		s.disk.Add(int64(len(p)))
	} else {
		b.keep(p)
	}
	b.more.Signal()
	switch {
	case b.file.len() > 0 && s.disk.Load() > s.bodyDisk():
		return stuck
	case b.unread > window && !spill:
		return full
	}
	return roomy
}

// keep copies p behind what waits in memory. b.mu is held.
func (b *body) keep(p []byte) {
	b.unread += len(p)
	for len(p) > 0 {
		if len(b.chunks) == 0 || b.w == chunkBytes {
			b.chunks = append(b.chunks, chunks.Get().(*chunk))
			b.req.c.srv.memory.Add(chunkBytes)
			b.w = 0
		}
		n := copy(b.chunks[len(b.chunks)-1][b.w:], p)
		b.w += n
		p = p[n:]
	}
}

// end notes that the stream has ended.
func (b *body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.length > b.come && b.err == nil {
		b.err = io.ErrUnexpectedEOF // the client left: the application must not take it for the whole
	}
	b.whole = true
	b.more.Signal()
}

// setLength says how long the body will be; a negative n says nothing. It
// reports whether that can be true.
func (b *body) setLength(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n < 0 {
		return true
	}
	if b.whole && b.come < n && b.err == nil {
		b.err = io.ErrUnexpectedEOF
	}
	b.length = n
	b.whole = b.whole || b.come == n
	return b.come <= n
}

// isEmpty reports whether there is a body at all.
func (b *body) isEmpty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.whole && b.come == 0 && b.err == nil
}

// isWhole reports whether everything has come.
func (b *body) isWhole() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.whole
}

// cut says why no more will come. What has come can still be read.
func (b *body) cut(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.whole && b.err == nil {
		b.err = err
	}
	b.more.Signal()
}

// kill drops what waits and fails every Read from now on.
func (b *body) kill(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dead != nil {
		return
	}
	b.dead = err
	for len(b.chunks) > 0 {
		chunks.Put(b.pop())
	}
	b.unread = 0
	b.req.c.srv.disk.Add(-b.file.len())
	b.file.close()
	b.resume()
	b.more.Broadcast()
}

// pop takes the first chunk off. b.mu is held.
func (b *body) pop() *chunk {
	c := b.chunks[0]
	b.chunks = b.chunks[1:]
	b.r = 0
	b.req.c.srv.memory.Add(-chunkBytes)
	return c
}

// hold pauses the connection's input until the handler has made room. If that
// takes longer than patient it goes on all the same, and what does not fit goes
// to the file; unless patient is negative. It does nothing if there is room.
func (b *body) hold(patient time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dead != nil || b.whole || b.held || b.roomLocked() {
		return
	}
	b.held = true
	b.req.c.st.PauseInput()
	if patient < 0 {
		return
	}
	b.patience = time.AfterFunc(patient, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.held {
			b.spilling = true
			b.resume()
		}
	})
}

// roomLocked reports whether there is room enough for input to go on. b.mu is
// held.
func (b *body) roomLocked() bool {
	return b.file.len() == 0 && b.unread <= b.req.c.srv.bodyWindow()/2
}

// resume lets the connection's input go on. b.mu is held.
func (b *body) resume() {
	if !b.held {
		return
	}
	b.held = false
	if b.patience != nil {
		b.patience.Stop()
	}
	b.req.c.st.ResumeInput()
}

// await waits until there is something to read. It returns why there never will
// be. b.mu is held.
func (b *body) await() error {
	for {
		switch {
		case b.dead != nil:
			return b.dead
		case b.unread > 0 || b.file.len() > 0:
			return nil
		case b.err != nil:
			return b.err
		case b.whole:
			return io.EOF
		}
		if err := b.wait(); err != nil {
			return err
		}
	}
}

// wait waits for a change, at most until the deadline. b.mu is held.
func (b *body) wait() error {
	by := b.deadline
	if t := time.Now().Add(b.req.c.srv.bodyTimeout()); by.IsZero() || t.Before(by) {
		by = t
	}
	d := time.Until(by)
	if d <= 0 {
		return os.ErrDeadlineExceeded
	}
	t := time.AfterFunc(d, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.more.Broadcast()
	})
	defer t.Stop()
	began := b.come
	b.more.Wait()
	if b.come == began && !time.Now().Before(by) && b.dead == nil && b.err == nil && !b.whole {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// setDeadline bounds the waits of Read; a zero t removes the bound.
func (b *body) setDeadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deadline = t
	b.more.Broadcast()
}

// Read reads what has come. One goroutine may read while another closes.
func (b *body) Read(p []byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if err := b.await(); err != nil {
		return 0, err
	}
	for n < len(p) && b.unread > 0 {
		c := b.chunks[0]
		k := copy(p[n:], c[b.r:b.r+b.first()])
		n += k
		b.r += k
		b.unread -= k
		if b.r == chunkBytes || b.unread == 0 {
			chunks.Put(b.pop())
		}
	}
	if n == 0 {
		n, err = b.readFile(p)
	}
	b.madeRoom()
	return n, err
}

// first returns how many unread bytes the first chunk has. b.mu is held.
func (b *body) first() int {
	if len(b.chunks) == 1 {
		return b.w - b.r
	}
	return chunkBytes - b.r
}

// readFile reads from the file. b.mu is held.
func (b *body) readFile(p []byte) (int, error) {
	n, err := b.file.read(p)
	b.req.c.srv.disk.Add(-int64(n))
	if b.file.len() == 0 {
		b.spilling = false
	}
	return n, err
}

// madeRoom lets input go on if enough was read. b.mu is held.
func (b *body) madeRoom() {
	if b.held && b.roomLocked() {
		b.resume()
	}
}

// WriteTo writes the body to w, without a buffer of its own.
func (b *body) WriteTo(w io.Writer) (total int64, err error) {
	for {
		c, p, err := b.take()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return total, err
		}
		n, err := w.Write(p)
		chunks.Put(c)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

// take takes the next bytes out of the body, in a chunk that the caller puts
// back.
func (b *body) take() (c *chunk, p []byte, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.await(); err != nil {
		return nil, nil, err
	}
	if b.unread > 0 {
		from, n := b.r, b.first()
		c = b.pop()
		b.unread -= n
		p = c[from : from+n]
	} else {
		c = chunks.Get().(*chunk)
		n, err := b.readFile(c[:])
		if err != nil {
			chunks.Put(c)
			return nil, nil, err
		}
		p = c[:n]
	}
	b.madeRoom()
	return c, p, nil
}

// Close drops what has not been read, and what will still come.
func (b *body) Close() error {
	b.kill(http.ErrBodyReadAfterClose)
	return nil
}

// errNoDisk ends a request whose body nobody reads, when it can wait nowhere.
var errNoDisk = errors.New("fcgi: no room for the unread body of a request")
