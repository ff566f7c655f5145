package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hythe-go/hythe/bench/internal/child"
)

// An assault is what the measuring process asks of an attacker's process.
type assault struct {
	Kind string // of the attacks
	Addr string // of the server
	TLS  bool   // the server speaks TLS
	For  time.Duration
}

// A damage is what an attacker saw of the server.
type damage struct {
	Opened int           // connections that were made
	Failed int           // that could not be made
	Ended  int           // that the server ended
	After  time.Duration // median time until it did
	Relief int64         // attackFiles: when the connections were closed, by child.Clock
}

// attacks are what an attacker can do, until ctx ends.
var attacks = map[string]func(*attacker, context.Context){
	"none":    func(_ *attacker, ctx context.Context) { <-ctx.Done() },
	"noread":  (*attacker).writeAndNeverRead,
	"drip":    (*attacker).drip,
	"stall":   (*attacker).stall,
	"files":   (*attacker).takeFiles,
	"panic":   (*attacker).causePanics,
	"giant":   (*attacker).sendEndlessLine,
	"flood":   (*attacker).flood,
	"reset":   (*attacker).reset,
	"blocked": (*attacker).blockHandlers,
}

// An attacker is the bad clients of one server.
type attacker struct {
	assault
	work sync.WaitGroup

	mu     sync.Mutex
	damage damage
	lives  []float64 // seconds, of the connections that the server ended
	next   int       // source address
}

// attack is the attacker's process. It does one assault, until its time is up
// or its standard input ends.
func attack() error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	a := new(attacker)
	if err := in.Decode(&a.assault); err != nil {
		return err
	}
	do := attacks[a.Kind]
	if do == nil {
		return fmt.Errorf("attack: unknown kind %q", a.Kind)
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.For)
	defer cancel()
	go func() { // ends with the process
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	do(a, ctx)
	cancel()
	a.work.Wait()
	if len(a.lives) > 0 {
		a.damage.After = time.Duration(median(a.lives) * float64(time.Second))
	}
	return out.Encode(a.damage)
}

// dial makes a connection. Those of one attacker come from few addresses.
func (a *attacker) dial(ctx context.Context) (net.Conn, error) {
	a.mu.Lock()
	a.next++
	from := net.IPv4(127, 0, 0, byte(2+a.next%4))
	a.mu.Unlock()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Control: withoutPort, Timeout: time.Second}
	c, err := d.DialContext(ctx, "tcp", a.Addr)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err == nil:
		a.damage.Opened++
	case ctx.Err() == nil:
		a.damage.Failed++
	}
	return c, err
}

// withoutPort has a socket that is bound to an address choose its port when it
// connects, so that ports do not run out.
func withoutPort(_, _ string, c syscall.RawConn) error {
	const ipBindAddressNoPort = 24
	return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipBindAddressNoPort, 1) })
}

// hold reads what comes on a connection until the server ends it, or ctx does,
// and closes it. Only then it counts whose doing the end was.
func (a *attacker) hold(ctx context.Context, c net.Conn) {
	start := time.Now()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	io.Copy(io.Discard, c)
	if stop() {
		a.ended(time.Since(start))
	}
	c.Close()
}

// ended counts a connection that the server ended.
func (a *attacker) ended(after time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.damage.Ended++
	a.lives = append(a.lives, after.Seconds())
}

// write connects and writes b again and again until the server ends the
// connection, and then waits for ctx.
func (a *attacker) write(ctx context.Context, b []byte) {
	c, err := a.dial(ctx)
	if err == nil {
		c.(*net.TCPConn).SetReadBuffer(4 << 10) // what the kernel keeps for us is of no interest
		start := time.Now()
		stop := context.AfterFunc(ctx, func() { c.Close() })
		for err == nil {
			_, err = c.Write(b)
		}
		if stop() {
			a.ended(time.Since(start))
		}
		c.Close()
	}
	<-ctx.Done()
}

// writeAndNeverRead sends lines and never reads an answer.
func (a *attacker) writeAndNeverRead(ctx context.Context) {
	a.write(ctx, batchOf(1024))
}

// sendEndlessLine sends a line that has no end.
func (a *attacker) sendEndlessLine(ctx context.Context) {
	b := make([]byte, 64<<10)
	for i := range b {
		b[i] = 'a'
	}
	a.write(ctx, b)
}

// batchOf returns n lines.
func batchOf(n int) []byte {
	var b []byte
	for range n {
		b = fmt.Appendf(b, "=%062d\n", 0)
	}
	return b
}

// drip has a hundred connections send a byte a second, of a line that does not
// end.
func (a *attacker) drip(ctx context.Context) {
	for range 100 {
		c, err := a.dial(ctx)
		if err != nil {
			continue
		}
		a.work.Go(func() { a.hold(ctx, c) })
		a.work.Go(func() {
			tick := time.NewTicker(min(time.Second, a.For/5))
			defer tick.Stop()
			for {
				if _, err := c.Write([]byte("=")); err != nil {
					return
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	<-ctx.Done()
}

// stall has two hundred connections say nothing, or with TLS the beginning of a
// handshake.
func (a *attacker) stall(ctx context.Context) {
	for range 200 {
		c, err := a.dial(ctx)
		if err != nil {
			continue
		}
		if a.TLS {
			c.Write([]byte{22, 3, 1, 2, 0, 1}) // a handshake record of 512 bytes begins
		}
		a.work.Go(func() { a.hold(ctx, c) })
	}
	<-ctx.Done()
}

// takeFiles makes more connections than the server has descriptors, and closes
// them when half of the time is over.
func (a *attacker) takeFiles(ctx context.Context) {
	half, cancel := context.WithTimeout(ctx, a.For/2)
	defer cancel()
	for range 2 * abuseFiles {
		c, err := a.dial(half)
		if err != nil {
			continue
		}
		a.work.Go(func() { a.hold(half, c) })
	}
	<-half.Done()
	a.work.Wait()
	a.damage.Relief = child.Clock()
	<-ctx.Done()
}

// causePanics sends lines whose handlers panic, on a connection each.
func (a *attacker) causePanics(ctx context.Context) {
	for ctx.Err() == nil {
		if c, err := a.dial(ctx); err == nil {
			fmt.Fprintf(c, "%cpanic\n", child.PanicMark)
			a.hold(ctx, c)
		}
		select {
		case <-time.After(a.For / 10):
		case <-ctx.Done():
		}
	}
}

// floodConns is how many connections a flood holds, at most.
const floodConns = 5000

// flood makes connections as fast as it can, and holds them in silence.
func (a *attacker) flood(ctx context.Context) {
	var dialling sync.WaitGroup
	for range 4 {
		dialling.Go(func() {
			for range floodConns / 4 {
				if c, err := a.dial(ctx); err == nil {
					a.work.Go(func() { a.hold(ctx, c) })
				} else if ctx.Err() != nil {
					return
				}
			}
		})
	}
	dialling.Wait()
	<-ctx.Done()
}

// reset connects, sends a line and a half, and resets the connection, as fast as
// it can.
func (a *attacker) reset(ctx context.Context) {
	b := append(batchOf(1), "half"...)
	for range 4 {
		a.work.Go(func() {
			for ctx.Err() == nil {
				c, err := a.dial(ctx)
				if err != nil {
					continue
				}
				c.Write(b)
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
		})
	}
	<-ctx.Done()
}

// blockHandlers keeps eight handlers asleep.
func (a *attacker) blockHandlers(ctx context.Context) {
	for range 8 {
		c, err := a.dial(ctx)
		if err != nil {
			continue
		}
		a.work.Go(func() {
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			for b := make([]byte, 16); ; {
				if _, err := fmt.Fprintf(c, "%csleep\n", child.NapMark); err != nil {
					return
				}
				if _, err := c.Read(b); err != nil {
					return
				}
			}
		})
	}
	<-ctx.Done()
}
