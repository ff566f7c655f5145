package fcgi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// A clientConn is a Transport's connection. It belongs to one exchange, or is
// idle.
type clientConn struct {
	nc     net.Conn
	key    string // network and address
	reused bool
	timer  *time.Timer // ends it when it has been idle for too long. Guarded by Transport.mu

	buf  *[clientBuf]byte // what was read; nil while idle
	r, w int              // what of buf was not looked at yet
	dec  decoder
}

// clientBuf is more than the largest record that has to be whole, an
// END_REQUEST.
const clientBuf = 16 << 10

var clientBufs = sync.Pool{New: func() any { return new([clientBuf]byte) }}

// A berth is an address: whoever has one of its tokens may use one connection.
// Since an idle one is taken before another is made, there are never more of
// them than tokens.
type berth struct {
	tokens chan struct{}
	users  int // who has a token, or waits for one. Guarded by Transport.mu
}

// conn returns a connection: one that was kept, unless it has to be fresh, or a
// new one.
func (t *Transport) conn(ctx context.Context, network, address string, fresh bool) (*clientConn, error) {
	key := network + " " + address
	if err := t.enter(ctx, key); err != nil {
		return nil, err
	}
	for !fresh {
		pc := t.takeIdle(key)
		if pc == nil {
			break
		}
		if isQuiet(pc.nc) {
			pc.reused = true
			return pc, nil
		}
		pc.nc.Close()
	}
	dial := t.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	dctx, cancel := context.WithTimeout(ctx, or(t.DialTimeout, 10*time.Second))
	defer cancel()
	nc, err := dial(dctx, network, address)
	if err != nil {
		t.leave(key)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return &clientConn{nc: nc, key: key}, nil
}

// enter waits for a token of an address.
func (t *Transport) enter(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t.mu.Lock()
	p := t.berths[key]
	if p == nil {
		p = &berth{tokens: make(chan struct{}, min(or(t.ConnsPerAddress, 100), 1<<20))}
		if t.berths == nil {
			t.berths = make(map[string]*berth)
		}
		t.berths[key] = p
	}
	p.users++
	t.mu.Unlock()
	select {
	case p.tokens <- struct{}{}:
		return nil
	case <-ctx.Done():
		t.mu.Lock()
		defer t.mu.Unlock()
		t.unuse(key)
		return context.Cause(ctx)
	}
}

// leave gives a token back.
func (t *Transport) leave(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	<-t.berths[key].tokens
	t.unuse(key)
}

// unuse forgets an address that nobody uses. mu is held.
func (t *Transport) unuse(key string) {
	p := t.berths[key]
	if p.users--; p.users == 0 {
		delete(t.berths, key)
	}
}

// takeIdle takes the connection to an address that was used last.
func (t *Transport) takeIdle(key string) *clientConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, pc := range slices.Backward(t.idle) {
		if pc.key == key {
			t.idle = slices.Delete(t.idle, i, i+1)
			pc.timer.Stop()
			return pc
		}
	}
	return nil
}

// put keeps a connection for the next request, or closes it.
func (t *Transport) put(pc *clientConn, keep bool) {
	keep = keep && pc.r == pc.w && pc.dec.between() // more than was asked for is not to be trusted
	if pc.buf != nil {
		clientBufs.Put(pc.buf)
		pc.buf, pc.r, pc.w = nil, 0, 0
	}
	if keep {
		pc.nc.SetDeadline(time.Time{})
		keep = t.putIdle(pc)
	}
	if !keep {
		pc.nc.Close()
	}
	t.leave(pc.key)
}

// putIdle makes a connection idle, if it may be. The longest unused one has to
// go for it.
func (t *Transport) putIdle(pc *clientConn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	all, perAddress := atMost(t.Idle, 100), t.idlePerAddress()
	if all == 0 || perAddress == 0 {
		return false
	}
	same := 0
	for _, other := range t.idle {
		if other.key == pc.key {
			same++
		}
	}
	switch {
	case same >= perAddress:
		i := slices.IndexFunc(t.idle, func(other *clientConn) bool { return other.key == pc.key })
		t.dropIdle(i)
	case len(t.idle) >= all:
		t.dropIdle(0)
	}
	t.idle = append(t.idle, pc)
	pc.timer = time.AfterFunc(or(t.IdleTimeout, 30*time.Second), func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if i := slices.Index(t.idle, pc); i >= 0 {
			t.dropIdle(i)
		}
	})
	return true
}

// dropIdle closes an idle connection. mu is held.
func (t *Transport) dropIdle(i int) {
	pc := t.idle[i]
	t.idle = slices.Delete(t.idle, i, i+1)
	pc.timer.Stop()
	pc.nc.Close()
}

// CloseIdleConnections closes the connections that were kept and are unused. It
// is what http.Client.CloseIdleConnections calls.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.idle) > 0 {
		t.dropIdle(len(t.idle) - 1)
	}
}

func (t *Transport) idlePerAddress() int { return atMost(t.IdlePerAddress, 2) }

// atMost is or for numbers of which a negative one means none.
func atMost(n, byDefault int) int {
	if n == 0 {
		return byDefault
	}
	return max(n, 0)
}

// errGone means that the application closed the connection. What was the
// matter otherwise is wrapped with it.
var errGone = errors.New("fcgi: the application has closed the connection")

// next returns the next record or piece of one. Its content is valid until the
// next call. The caller has set a deadline.
func (pc *clientConn) next() (record, error) {
	if pc.buf == nil {
		pc.buf = clientBufs.Get().(*[clientBuf]byte)
	}
	for {
		n, rec, err := pc.dec.next(pc.buf[pc.r:pc.w])
		pc.r += n
		if err == nil {
			return rec, nil
		}
		if err != errShort {
			return record{}, fmt.Errorf("%w: %w", ErrBadResponse, err)
		}
		pc.w = copy(pc.buf[:], pc.buf[pc.r:pc.w])
		pc.r = 0
		if pc.w == clientBuf {
			return record{}, fmt.Errorf("%w: a control record is too long", ErrBadResponse)
		}
		n, err = pc.nc.Read(pc.buf[pc.w:])
		pc.w += n
		switch {
		case n > 0:
		case err == io.EOF:
			return record{}, fmt.Errorf("%w: %w", errGone, io.ErrUnexpectedEOF)
		case err != nil && !isTimeout(err):
			return record{}, fmt.Errorf("%w: %w", errGone, err)
		case err != nil:
			return record{}, err
		}
	}
}
