package httpd_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// How the handler writes is nothing to the clock: one Write may last for ever.
func TestMinRate_HoldsWithinOneWrite(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, test := range []struct {
			perSecond int
			ended     bool
		}{{16 << 10, true}, {200 << 10, false}} {
			t.Run(fmt.Sprint(test.perSecond, " TLS ", secure), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const size = 16 << 20
					left, reasons := make(chan error, 1), make(chan error, 1)
					s := &httpd.Server{MinRate: 100 << 10, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						httpd.ConnOf(r.Context()).OnClose(func(why error) { reasons <- why })
						w.Header().Set("Content-Length", itoa(size))
						_, err := w.Write(make([]byte, size))
						left <- err
					})}
					proto := "HTTP/1.1"
					if secure {
						proto = "HTTP/1.1 TLS"
					}
					c := askOver(t, &hythe.Server{Service: s}, s, proto).(*rawClient)
					began := time.Now()
					b := make([]byte, test.perSecond)
					var err error
					for err == nil {
						time.Sleep(time.Second)
						_, err = io.ReadFull(c.r, b)
						if len(left) > 0 && !test.ended {
							break
						}
					}
					took := time.Since(began)
					if err := <-left; (err != nil) != test.ended {
						t.Errorf("Write: %v after %v", err, took)
					}
					if test.ended {
						if took > time.Minute {
							t.Errorf("it ended after %v", took)
						}
						if why := <-reasons; !errors.Is(why, hythe.WriteStalled) || !errors.Is(why, httpd.ErrSlow) {
							t.Errorf("ended with %v", why)
						}
					}
					c.nc.Close()
				})
			})
		}
	}
}

// In clear, where HTTP/2 goes through the wire of HTTP/1, whose own count of an
// answer starts again with each stream that ends.
func TestHTTP2_MinRateInClear(t *testing.T) {
	for _, rate := range []int64{8 << 10, 32 << 10} { // the client takes 16 KiB/s
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			var errs chan error // made where its clock is
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/small" {
					io.WriteString(w, "small")
					return
				}
				_, err := w.Write(make([]byte, 10<<20))
				errs <- err
			})
			inMemoryH2(t, &httpd.Server{Handler: h, MinRate: rate}, false, 0, func(t *testing.T, c h2Client) {
				errs = make(chan error, 1)
				go io.Copy(io.Discard, c.r)
				c.get(1, "/")
				var ended error
				for s := 0; s < 40 && ended == nil; s++ {
					time.Sleep(time.Second)
					c.get(uint32(3+2*s), "/small")
					c.grow(uint32(3+2*s), 100)
					synctest.Wait()
					select {
					case ended = <-errs:
						if s < 10 {
							t.Errorf("ended in RateGrace, after %d s", s)
						}
					default:
						c.grow(0, 16<<10)
						c.grow(1, 16<<10)
					}
				}
				if tooSlow := rate > 16<<10; errors.Is(ended, httpd.ErrSlow) != tooSlow {
					t.Errorf("MinRate %d: %v", rate, ended)
				}
				c.nc.Close()
				if ended == nil {
					<-errs
				}
			})
		})
	}
}
