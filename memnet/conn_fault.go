package memnet

import "time"

// SetReadBuffer bounds how many bytes the peer may have written that c has not
// read. Less than 1 means 64 KiB. Bytes above a lowered bound stay. Since a
// direction has one buffer, this is the same bound that the peer sets with
// SetWriteBuffer. The error is always nil; it is there for the form of
// [net.TCPConn].
func (c *Conn) SetReadBuffer(bytes int) error {
	c.in.setLimit(bytes)
	return nil
}

// SetWriteBuffer bounds how many bytes c may have written that the peer has not
// read, as SetReadBuffer of the peer does.
func (c *Conn) SetWriteBuffer(bytes int) error {
	c.out.setLimit(bytes)
	return nil
}

// setLimit bounds the buffer.
func (h *half) setLimit(bytes int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limitBytes = orDefault(bytes)
	h.writable.Broadcast()
}

// SetMaxRead limits how many bytes one Read of c returns; 1 gives every byte on
// its own. Less than 1 means no limit.
func (c *Conn) SetMaxRead(bytes int) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.in.maxRead = bytes
}

// SetMaxWrite limits how many bytes one TryWrite of c takes, and makes Write
// work in pieces of that many, between which the peer may read. Less than 1
// means no limit.
func (c *Conn) SetMaxWrite(bytes int) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.maxWrite = bytes
}

// SetLatency makes what c sends from now on, bytes and the end of the stream,
// arrive at the peer d later, though never before what was sent earlier. Zero
// or less means at once. Bytes under way take room in the buffer, so that no
// more than a buffer full arrives per d. A reset is never delayed.
func (c *Conn) SetLatency(d time.Duration) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.latency = d
}

// Stall makes c stop taking bytes, as a receiver with a closed window: the
// peer's Write waits, even if the buffer is empty, and its TryWrite writes
// nothing. What has been written already can be read, and the peer can still
// close.
func (c *Conn) Stall() { c.in.setStalled(true) }

// Unstall undoes Stall.
func (c *Conn) Unstall() { c.in.setStalled(false) }

// setStalled opens or closes the buffer for writes.
func (h *half) setStalled(stalled bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stalled = stalled
	h.writable.Broadcast()
}

// AtRead calls f once, when c has read offset bytes since it was made: the Read
// that gets there stops there, and calls f before it returns. With c.Reset for
// f, the connection breaks after exactly so many bytes. No lock is held during
// the call; f may use the connection, but must not read from c. If so many
// bytes have been read already, AtRead calls f itself.
func (c *Conn) AtRead(offset int64, f func()) {
	c.in.addMark(&c.in.readMarks, &c.in.head, offset, f)
}

// AtWrite calls f once, when c has written offset bytes since it was made, as
// AtRead does for reading: a write that goes further is split there, and what
// f does to the connection meets its second part. f must not write to c.
func (c *Conn) AtWrite(offset int64, f func()) {
	c.out.addMark(&c.out.writeMarks, &c.out.tail, offset, f)
}
