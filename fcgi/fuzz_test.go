package fcgi

import (
	"io"
	"net/http"
	"testing"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/hythetest"
)

// Whatever a web server sends, the connection comes to its end, what is sent
// back is records, at most one END_REQUEST for each BEGIN_REQUEST, and nothing
// is left behind. (hythetest.Serve sees to goroutines.)
func FuzzConn(f *testing.F) {
	f.Add([]byte(get(1, "/hello")), uint8(7))
	f.Add([]byte(get(1, "/echo")+ask(2, 0, "body", "REQUEST_METHOD", "POST", "REQUEST_URI", "/echo", "CONTENT_LENGTH", "4")), uint8(255))
	f.Add([]byte(begin(1, flagKeepConn, "REQUEST_URI", "/wait")+rec(typeAbort, 1, "")+get(1, "/hello")), uint8(0))
	f.Add([]byte(rec(typeGetValues, 0, "\x0f\x00FCGI_MPXS_CONNS")+rec(77, 0, "x")+string(appendBegin(nil, 3, roleFilter, 1))+environ(3)), uint8(30))
	f.Add([]byte("\x01\x01\x00\x01\x00\x08\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x01\x04\x00\x01\x00\x03\x05\x00\x80\x00\x00"), uint8(1))
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-r.Context().Done()
		}
		if d := Data(r); d != nil {
			io.Copy(io.Discard, d)
		}
		io.WriteString(Stderr(r.Context()), "err")
		io.Copy(w, r.Body)
	})
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		s := &Server{Handler: h, Authorizer: h, Filter: h, Limits: Limits{ParamBytes: 2000, BodyBytes: 10_000, BodyWindow: 1000, BodyDisk: 5000, RequestsPerConn: 5}}
		c := hythetest.Dial(t, &hythe.Server{Service: s})
		p := newPeer(t, c.Conn())
		p.reuse = true
		ended := make(chan bool)
		c.Stream().OnClose(func(error) { close(ended) })
		done := make(chan bool)
		go func() {
			defer close(done)
			for {
				if _, err := p.next(); err != nil {
					return
				}
			}
		}()
		for n := int(step) + 1; len(b) > 0; {
			n = min(n, len(b))
			if _, err := p.Write(b[:n]); err != nil {
				break
			}
			b = b[n:]
		}
		p.Conn.(interface{ CloseWrite() error }).CloseWrite()
		<-done
		c.Close()
		<-ended
		if st := s.Stats(); st.Active != 0 || st.Memory != 0 || st.Disk != 0 {
			t.Errorf("left behind: %+v", st)
		}
	})
}
