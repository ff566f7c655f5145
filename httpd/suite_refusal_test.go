package httpd_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe/httpd"
)

// A head that comes byte by byte and is refused in its last one: whatever comes
// behind it, no handler is called, and there is one answer.
func TestRefusalIsFinal(t *testing.T) {
	var called sync.Map // the client's address: what its handler saw
	at := startSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		called.Store(r.RemoteAddr, fmt.Sprint(r.Method, r.URL, r.Header))
	}), func(s *httpd.Server) { s.MoorAfter = moorAfter })
	raw := post(hello, chunked, "Content-Length: 15") + goodSecond
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for range 30 {
				nc, err := net.Dial("tcp", at.String())
				if err != nil {
					t.Error(err)
					return
				}
				nc.SetDeadline(time.Now().Add(patience))
				for i := range len(raw) {
					if _, err := io.WriteString(nc, raw[i:i+1]); err != nil {
						break // it was refused by now
					}
				}
				nc.(*net.TCPConn).CloseWrite()
				got, _ := io.ReadAll(nc)
				if saw, ok := called.LoadAndDelete(nc.LocalAddr().String()); ok {
					t.Errorf("a handler saw %s", saw)
				}
				if n := strings.Count(string(got), "HTTP/1.1"); n > 1 {
					t.Errorf("%d answers: %q", n, got)
				}
				nc.Close()
			}
		})
	}
	all.Wait()
}
