package memnet_test

import (
	"context"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/hythe-go/hythe/memnet"
)

func TestListenerCloseWakesAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		ln := listen(t, &network, "echo")
		accept := func() error { _, err := ln.Accept(); return err }
		first, second := start(accept), start(accept)
		synctest.Wait()
		wantErr(t, "Close", ln.Close(), nil)
		wantErr(t, "waiting Accept", <-first, net.ErrClosed)
		wantErr(t, "waiting Accept", <-second, net.ErrClosed)
		wantErr(t, "Accept", accept(), net.ErrClosed)
		wantErr(t, "Close", ln.Close(), net.ErrClosed)
	})
}

func TestListenerCloseEndsDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.Network{Backlog: 1}
		ln := listen(t, &network, "echo")
		queued, err := network.Dial(t.Context(), "echo")
		if err != nil {
			t.Fatal(err)
		}
		defer queued.Close()
		pending := start(func() error { _, err := network.Dial(t.Context(), "echo"); return err })
		synctest.Wait()
		ln.Close()
		wantErr(t, "pending Dial", <-pending, syscall.ECONNREFUSED)
		wantReadErr(t, queued, syscall.ECONNRESET)
		_, err = ln.Accept()
		wantErr(t, "Accept", err, net.ErrClosed)
	})
}

// Dials, accepts and the close of the listener meet in any order: each dial
// ends, and no connection is left that nobody has.
func TestListenerCloseRace(t *testing.T) {
	for range 50 {
		network := memnet.Network{Backlog: 2}
		ln, err := network.Listen("echo")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				c, err := network.Dial(context.Background(), "echo")
				if err != nil {
					wantErr(t, "Dial", err, syscall.ECONNREFUSED)
					return
				}
				// The other end is closed, by its acceptor or by the listener.
				if _, err := c.Read(make([]byte, 1)); err == nil {
					t.Error("Read got a byte from nowhere")
				}
				c.Close()
			})
		}
		wg.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		})
		wg.Go(func() { ln.Close() })
		wg.Wait()
	}
}
