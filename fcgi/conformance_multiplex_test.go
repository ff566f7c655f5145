package fcgi_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/fcgi"
)

// Multiplexing: section 3.3. Requests on one connection do not disturb one
// another.

// Records of several requests come in any order.
func TestSpec_3_3_Interleaved(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, r.URL.Path+" ")
			io.Copy(w, r.Body)
		}).dial()
		const n = 50
		each := func(f func(id uint16) string) {
			var all strings.Builder
			for id := uint16(1); id <= n; id++ {
				all.WriteString(f(id))
			}
			c.send(all.String())
		}
		each(func(id uint16) string { return begin(id, keep) })
		each(func(id uint16) string {
			return mk(tParams, id, env("POST", fmt.Sprint("/", id), "CONTENT_LENGTH", "6")[:10])
		})
		each(func(id uint16) string {
			return mk(tParams, id, env("POST", fmt.Sprint("/", id), "CONTENT_LENGTH", "6")[10:])
		})
		each(func(id uint16) string { return mk(tParams, id, "") })
		each(func(id uint16) string { return mk(tStdin, id, fmt.Sprintf("%03d", id)) })
		each(func(id uint16) string { return mk(tStdin, id, "end") })
		each(func(id uint16) string { return mk(tStdin, id, "") })
		for _, a := range c.answers(n) {
			if want := fmt.Sprintf("/%d %03dend", a.id, a.id); a.body() != want {
				t.Errorf("request %d: got %q, want %q", a.id, a.body(), want)
			}
		}
		c.wantOpen()
	})
}

// Neither a slow handler, nor a body that does not come, nor one that nobody
// reads keeps the others waiting.
func TestSpec_3_3_NobodyWaitsForAnother(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		g := newGate(t)
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/slow": // does not read its body
				g.wait(r)
				fallthrough
			case "/reads":
				n, err := io.Copy(io.Discard, r.Body)
				fmt.Fprint(w, n, err)
			default:
				path(w, r)
			}
		})
		c := a.dial()
		const size = 2 << 20 // more than any window
		c.send(begin(1, keep), params(1, env("POST", "/slow", "CONTENT_LENGTH", fmt.Sprint(size))))
		c.send(begin(2, keep), params(2, env("POST", "/reads", "CONTENT_LENGTH", "4")), mk(tStdin, 2, "bo"))
		get(t, w, g.entered, "the slow handler")
		for range size / 32768 {
			c.send(mk(tStdin, 1, strings.Repeat("x", 32768)))
		}
		c.send(mk(tStdin, 1, ""), getting(3, keep, "/quick"))
		c.wantBody(3, "/quick")
		c.wantOpen()
		if st := a.fcgi.Stats(); st.Memory > 1<<20 {
			t.Errorf("%d bytes are held in memory for a body nobody reads", st.Memory)
		}
		c.send(mk(tStdin, 2, "dy"), mk(tStdin, 2, ""))
		c.wantBody(2, fmt.Sprint(4, nil))
		g.pass()
		c.wantBody(1, fmt.Sprint(size, nil))
	})
}

// Alone on its connection, a body that nobody reads may hold the web server up,
// but not for ever: an abort gets through, and so does the next request.
func TestAbortGetsThroughAnUnreadBody(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		g := newGate(t)
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/slow" {
				path(w, r)
				return
			}
			g.wait(r)
		})
		c := a.dial()
		const size = 4 << 20
		c.send(begin(1, keep), params(1, env("POST", "/slow", "CONTENT_LENGTH", fmt.Sprint(size))))
		get(t, w, g.entered, "the handler")
		for range size / 32768 {
			c.send(mk(tStdin, 1, strings.Repeat("x", 32768)))
		}
		c.send(mk(tAbort, 1, ""), getting(2, keep, "/next"))
		c.wantAborted(1)
		c.wantBody(2, "/next")
		if st := a.fcgi.Stats(); st.Disk != 0 {
			t.Errorf("%d bytes of an aborted request are on disk", st.Disk)
		}
	})
}

// Large answers share the connection: none has it for itself until its end.
func TestFairWrites(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		const size = 32 << 20 // long enough that it is not the scheduler who decides
		g := newGate(t)
		c := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/small" {
				path(w, r)
				return
			}
			g.wait(r) // they begin together
			b := make([]byte, 64<<10)
			for range size / len(b) {
				w.Write(b)
			}
		}).dial()
		c.send(getting(1, keep, "/big"), getting(2, keep, "/big"))
		get(t, w, g.entered, "a handler")
		get(t, w, g.entered, "a handler")
		g.pass()
		got := map[uint16]int{}
		sent := false
		for ended := 0; ended < 3; {
			r := c.record()
			switch r.kind {
			case tStdout:
				got[r.id] += len(r.content)
			case tEnd:
				ended++
				if r.id == 3 && (got[1] >= size || got[2] >= size) {
					t.Error("the small answer came after a whole large one")
				}
			}
			if !sent && got[1] > 0 && got[2] > 0 {
				c.send(getting(3, keep, "/small"))
				sent = true
			}
			if got[1] >= size && got[2] < size/4 || got[2] >= size && got[1] < size/4 {
				t.Fatalf("one answer is whole, of the other %d bytes came", min(got[1], got[2]))
			}
		}
	})
}

// Many requests at once with bodies and answers of all sizes.
func TestManyAtOnce(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		a := w.start(t, &fcgi.Server{Handler: http.HandlerFunc(echo)})
		c := a.dial()
		sizes := []int{0, 1, 7, 8, 4095, 4096, 4097, 32752, 32753, 65535, 200_000}
		go func() {
			for i, n := range sizes {
				id := uint16(i + 1)
				s := begin(id, keep) + params(id, env("POST", "/", "CONTENT_LENGTH", fmt.Sprint(n)))
				for n > 0 {
					k := min(n, 65535)
					s += mk(tStdin, id, strings.Repeat(string([]byte{'a' + byte(i)}), k))
					n -= k
				}
				c.sendLate(s, mk(tStdin, id, ""))
			}
		}()
		for _, got := range c.answers(len(sizes)) {
			i := int(got.id) - 1
			if want := strings.Repeat(string([]byte{'a' + byte(i)}), sizes[i]); got.body() != want {
				t.Errorf("request %d: %d bytes, want %d", got.id, len(got.body()), sizes[i])
			}
		}
		c.wantOpen()
	})
}
