package httpd_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// fill sends until the client's not reading is felt.
func (d *detached) fill() {
	for d.out.TryWrite(make([]byte, 8<<10)) {
		synctest.Wait()
	}
}

func TestDetach_CloseEndsTheAnswerAfterWhatWasSent(t *testing.T) {
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		time.Sleep(time.Minute)
		text := strings.Repeat("x", 50_000)
		d.out.Write([]byte(text))
		if err := d.out.Close(nil); err != nil {
			t.Errorf("Close = %v", err)
		}
		if n, err := d.out.Write([]byte("late")); n != 0 || err == nil {
			t.Errorf("Write after Close: %d, %v", n, err)
		}
		if d.out.TryWrite([]byte("late")) {
			t.Error("TryWrite after Close says true")
		}
		if err := d.out.Close(errors.New("late")); err != nil { // does nothing
			t.Errorf("Close = %v", err)
		}
		d.wantEnd(t, text, true)
		d.leave()
		d.wantOver(t, hythe.Finished)
		if err := d.out.Close(nil); err != nil {
			t.Errorf("Close = %v", err)
		}
		d.wantTold(t, 50_000, false, time.Minute)
	})
}

func TestDetach_CloseWithAnErrorCutsTheAnswerOff(t *testing.T) {
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		d.out.Write([]byte("half"))
		d.want(t, "half")
		time.Sleep(time.Minute)
		failed := errors.New("failed")
		d.out.Close(failed)
		d.out.Close(nil) // does nothing
		d.wantEnd(t, "", false)
		why := error(hythe.Closed)
		if d.http2() {
			why = failed
		}
		d.wantOver(t, why)
		d.wantTold(t, 4, true, time.Minute)
	})
}

// What was sent is lost with an error, but nobody waits for a client that does not
// read.
func TestDetach_CloseDoesNotWait(t *testing.T) {
	for _, failed := range []error{nil, errors.New("failed")} {
		t.Run(fmt.Sprint(failed), func(t *testing.T) {
			whenDetached(t, nil, func(t *testing.T, d *detached) {
				d.fill()
				began := time.Now()
				d.out.Close(failed)
				if took := time.Since(began); took > 0 {
					t.Errorf("Close took %v", took)
				}
				<-d.out.Done()
				if took := time.Since(began); took > time.Minute+time.Second {
					t.Errorf("it ended %v after Close", took)
				}
			})
		})
	}
}

func TestDetach_EndsWhenTheClientLeaves(t *testing.T) {
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		d.out.Write([]byte("one"))
		d.want(t, "one")
		time.Sleep(time.Minute)
		began := time.Now()
		d.leave()
		<-d.out.Done()
		if took := time.Since(began); took > 0 {
			t.Errorf("it ended %v after the client had left", took)
		}
		if d.http2() {
			d.wantOver(t, context.Canceled)
		} else if err := d.out.Err(); !errors.Is(err, hythe.PeerDone) && !errors.Is(err, hythe.PeerReset) {
			t.Errorf("Err = %v", err)
		}
		d.wantTold(t, 3, true, time.Minute)
	})
}

// write has so many goroutines write lines until that fails, and returns when all
// of them wait for the client.
func (d *detached) write(n int) <-chan error {
	waits := make(chan error, n)
	for i := range n {
		go func() {
			line := append(bytes.Repeat([]byte{'a' + byte(i)}, 20_000), '\n')
			var err error
			for err == nil {
				_, err = d.out.Write(line)
			}
			waits <- err
		}()
	}
	synctest.Wait()
	return waits
}

// Those who wait in Write when the answer is closed may get through or not, but not
// half.
func TestDetach_CloseWhileOthersWrite(t *testing.T) {
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		waits := d.write(3)
		d.out.Close(nil)
		got, err := io.ReadAll(d.body)
		if err != nil {
			t.Errorf("the answer is cut off: %v", err)
		}
		lines := bytes.Split(got, []byte{'\n'})
		if rest := lines[len(lines)-1]; len(rest) > 0 {
			t.Errorf("half a line at the end, of %d bytes", len(rest))
		}
		for _, line := range lines[:len(lines)-1] {
			if len(line) != 20_000 || len(bytes.Trim(line, string(line[:1]))) > 0 {
				t.Errorf("a line of %d bytes that begins with %.20q is mixed", len(line), line)
			}
		}
		for range 3 {
			if err := <-waits; err == nil {
				t.Error("no error")
			}
		}
	})
}

// Whoever waits in Write is not forgotten.
func TestDetach_WriteReturnsWhenTheClientLeaves(t *testing.T) {
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		waits := d.write(3)
		began := time.Now()
		d.leave()
		for range 3 {
			if err := <-waits; err == nil || time.Since(began) > 0 {
				t.Errorf("Write returned %v %v after the client had left", err, time.Since(began))
			}
		}
		if r := <-d.told; !r.Cut {
			t.Error("the Observer takes it for whole")
		}
	})
}

// The client has not got everything when it leaves, although Close was called.
func TestDetach_IsCutIfTheClientLeavesBeforeTheEndHasLeft(t *testing.T) {
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		d.fill()
		d.out.Close(nil)
		synctest.Wait()
		d.leave()
		<-d.out.Done()
		if err := d.out.Err(); err == nil || errors.Is(err, hythe.Finished) {
			t.Errorf("Err = %v", err)
		}
		if r := <-d.told; !r.Cut {
			t.Error("the Observer takes it for whole")
		}
	})
}

// The client has got everything, and leaves at once.
func TestDetach_IsWholeHoweverSoonTheClientLeaves(t *testing.T) {
	for range 20 {
		whenDetached(t, nil, func(t *testing.T, d *detached) {
			d.out.Write([]byte("all"))
			d.out.Close(nil)
			if got, err := io.ReadAll(d.body); string(got) != "all" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
			if !d.http2() { // there it has nothing more to leave
				d.leave()
			}
			if r := <-d.told; r.Cut {
				t.Errorf("the Observer takes it for cut off; it ended for %v", d.out.Err())
			}
		})
	}
}

func TestDetach_ADrainEndsItWhereItIs(t *testing.T) {
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		d.out.Write([]byte("one"))
		time.Sleep(time.Minute)
		drained := make(chan hythe.Report, 1)
		go func() {
			r, err := d.srv.Drain(context.Background())
			if err != nil {
				t.Errorf("Drain = %v", err)
			}
			drained <- r
		}()
		d.wantEnd(t, "one", true)
		if h, ok := d.body.(*h2Body); ok {
			h.nc.Close()
		} else {
			d.leave()
		}
		d.wantOver(t, hythe.Finished)
		if r := <-drained; len(r.Cut) > 0 || len(r.Finished)+len(r.Idle) != 1 || r.Elapsed > time.Second {
			t.Errorf("%v", r)
		}
		if r := <-d.told; r.Cut || r.Bytes != 3 {
			t.Errorf("the Observer was told of %d bytes, cut %v", r.Bytes, r.Cut)
		}
	})
}

// WriteStall is for HTTP/1, AnswerIdle for HTTP/2.
func TestDetach_EndsWhenTheClientDoesNotReadForTooLong(t *testing.T) {
	for _, limit := range []time.Duration{0, 7 * time.Second} {
		want := limit
		if limit == 0 {
			want = 30 * time.Second
		}
		t.Run(want.String(), func(t *testing.T) {
			whenDetached(t, func(srv *hythe.Server, s *httpd.Server) {
				srv.Timeouts.WriteStall, s.AnswerIdle = limit, limit
			}, func(t *testing.T, d *detached) {
				time.Sleep(10 * time.Minute / 3) // not yet Idle
				began := time.Now()
				d.fill()
				<-d.out.Done()
				within(t, "since it reads nothing", time.Since(began), want)
				if d.http2() {
					d.wantOver(t, httpd.ErrSlow)
				} else {
					d.wantOver(t, hythe.WriteStalled)
				}
				if r := <-d.told; !r.Cut {
					t.Error("the Observer takes it for whole")
				}
			})
		})
	}
}

// A slow client is not one that does not read.
func TestDetach_GoesOnWhileTheClientReadsSlowly(t *testing.T) {
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		const size = 600 << 10
		go func() {
			for range size / (4 << 10) {
				d.out.Write(make([]byte, 4<<10))
			}
			d.out.Close(nil)
		}()
		for range size / (24 << 10) { // WriteStall is 30 s, and sees each 32 KiB
			time.Sleep(10 * time.Second)
			if _, err := io.ReadFull(d.body, make([]byte, 24<<10)); err != nil {
				t.Fatal(err)
			}
		}
		d.wantEnd(t, "", true)
	})
}

// Idle counts from the last byte. Over HTTP/2 nothing bounds an answer on which
// nothing is sent.
func TestDetach_EndsWhenNothingIsSentForTooLong(t *testing.T) {
	for _, idle := range []time.Duration{0, 10 * time.Second, -1} {
		t.Run(idle.String(), func(t *testing.T) {
			whenDetached(t, func(srv *hythe.Server, s *httpd.Server) {
				srv.Timeouts.Idle = idle
			}, func(t *testing.T, d *detached) {
				want := idle
				if idle == 0 {
					want = 5 * time.Minute
				}
				for range 5 {
					time.Sleep(want.Abs() * 9 / 10)
					d.out.Write([]byte("x"))
					d.want(t, "x")
				}
				if d.http2() || idle < 0 {
					time.Sleep(20 * time.Hour)
					d.out.Write([]byte("x"))
					d.want(t, "x")
					return
				}
				began := time.Now()
				<-d.out.Done()
				within(t, "since nothing was sent", time.Since(began), want)
				d.wantOver(t, hythe.Idle)
				if r := <-d.told; !r.Cut {
					t.Error("the Observer takes it for whole")
				}
			})
		})
	}
}

// A detached answer hears of what Conn does.
func TestDetach_AbortAndOnCloseAreTheConnections(t *testing.T) {
	whenDetached(t, nil, func(t *testing.T, d *detached) {
		closed := make(chan error, 1)
		c := <-d.conns
		c.OnClose(func(why error) { closed <- why })
		select {
		case <-c.Draining():
			t.Error("Draining is closed already")
		default:
		}
		c.Abort()
		<-d.out.Done()
		if err := d.out.Err(); err == nil || !d.http2() && !errors.Is(err, hythe.Closed) {
			t.Errorf("Err = %v", err)
		}
		if why := <-closed; !errors.Is(why, hythe.Closed) {
			t.Errorf("OnClose was called with %v", why)
		}
		<-c.Draining()
		if r := <-d.told; !r.Cut {
			t.Error("the Observer takes it for whole")
		}
	})
}

// In HTTP/1.0 an answer ends with its connection: only a reset says that it is not
// whole.
func TestDetach_CutOffIsSeenInHTTP10(t *testing.T) {
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := httpd.Detach(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		out.Write([]byte("half"))
		go func() {
			<-r.Context().Done() // the handler has returned
			out.Close(errors.New("failed"))
		}()
	}), nil)
	c := dialRaw(t, at)
	c.send("GET / HTTP/1.0\r\nHost: x\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c.nc), nil)
	if err != nil {
		return // cut off so hard that nothing came
	}
	if got, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the client takes %q for the whole", got)
	}
}
