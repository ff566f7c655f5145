package link

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"
)

var errNoAddress = errors.New("link: the name has no address")

// interleave puts addresses of the two families in turn, beginning with the
// first one's and otherwise in their order.
// https://www.rfc-editor.org/rfc/rfc8305#section-4
func interleave(addrs []netip.Addr) []netip.Addr {
	var families [2][]netip.Addr
	for _, a := range addrs {
		other := 0
		if a.Unmap().Is4() != addrs[0].Unmap().Is4() {
			other = 1
		}
		families[other] = append(families[other], a.Unmap())
	}
	mixed := make([]netip.Addr, 0, len(addrs))
	for i := range addrs {
		for _, f := range families {
			if i < len(f) {
				mixed = append(mixed, f[i])
			}
		}
	}
	return mixed
}

// race dials addrs, in their order: each one delay after the one before, or when
// that has failed. The first connection wins. It returns when all dials have
// returned; the losers' connections are closed.
// https://www.rfc-editor.org/rfc/rfc8305#section-5
func race(ctx context.Context, addrs []netip.Addr, delay time.Duration,
	dial func(ctx context.Context, addr netip.Addr) (net.Conn, error)) (won net.Conn, err error) {
	type result struct {
		nc  net.Conn
		err error
		of  int
	}
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result)
	timer := time.NewTimer(0)
	defer timer.Stop()
	errs := make([]error, len(addrs)) // in their order, whoever fails first
	for next, running := 0, 0; ; {
		if next == len(addrs) || won != nil || ctx.Err() != nil {
			timer.Stop()
			if running == 0 {
				break
			}
		}
		select {
		case <-timer.C:
			of := next
			next++
			running++
			go func() { // race waits for it
				nc, err := dial(ctx, addrs[of])
				results <- result{nc, err, of}
			}()
			timer.Reset(delay)
		case r := <-results:
			running--
			switch {
			case r.err != nil:
				errs[r.of] = r.err
				timer.Reset(0)
			case won != nil:
				r.nc.Close()
			default:
				won = r.nc
				cancel() // the others
			}
		}
	}
	if won != nil {
		return won, nil
	}
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	switch {
	case len(errs) == 1:
		return nil, errs[0]
	case len(errs) > 1:
		return nil, errors.Join(errs...)
	case outer.Err() != nil:
		return nil, context.Cause(outer)
	}
	return nil, errNoAddress
}
