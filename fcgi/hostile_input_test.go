package fcgi_test

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/fcgi"
)

// everything is a connection's input with something of all, and the bodies that
// come of it.
var everything = mk(tGetValues, 0, "\x0f\x00FCGI_MPXS_CONNS") +
	begin(1, keep) + mk(tParams, 1, env("POST", "/1", "CONTENT_LENGTH", "6")[:11]) + mk(200, 0, "x") +
	beginRole(2, 9, keep) + begin(3, keep) +
	mk(tParams, 1, env("POST", "/1", "CONTENT_LENGTH", "6")[11:]) + mk(tParams, 1, "") +
	mk(tStdin, 1, "abc") + params(3, env("GET", "/3")) + mk(tStdin, 77, "nobody's") +
	mk(tStdin, 1, "def") + mk(tStdin, 3, "") + mk(tStdin, 1, "") +
	posting(4, 0, "/4", "xyz")

// describe reads all answers to everything, and puts them in a form that does
// not depend on who was faster.
func describe(r io.Reader) string {
	c := &wire{r: bufReader(r)}
	streams := map[string]string{}
	for {
		rec, err := c.tryRecord()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err.Error()
		}
		key := fmt.Sprint(rec.id, " ", rec.kind)
		streams[key] += rec.content
		if rec.content == "" {
			streams[key] += "|"
		}
	}
	return strings.Join(strings.Split(fmt.Sprint(streams), " "), "\n")
}

// However the input is cut, the answers are the same.
func TestEveryByteSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := memWorld.serve(t, func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			fmt.Fprint(w, r.URL.Path, string(b), err)
		})
		ask := func(pieces ...string) string {
			c := a.dial()
			got := make(chan string, 1)
			go func() { got <- describe(c.Conn) }()
			for _, p := range pieces {
				c.send(p)
				synctest.Wait()
			}
			s := <-got
			c.Close()
			return s
		}
		want := ask(everything)
		for _, s := range []string{"/1abcdef<nil>|", "/3<nil>|", "/4xyz<nil>|"} {
			if !strings.Contains(want, s) {
				t.Fatalf("the answers lack %q:\n%s", s, want)
			}
		}
		for i := 1; i < len(everything); i++ {
			if got := ask(everything[:i], everything[i:]); got != want {
				t.Fatalf("cut at byte %d:\n%s\nwant\n%s", i, got, want)
			}
		}
		if got := ask(strings.Split(everything, "")...); got != want {
			t.Fatalf("a byte at a time:\n%s\nwant\n%s", got, want)
		}
	})
}

func TestAByteAtATime(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, echo).dial()
		for _, b := range strings.Split(begin(1, keep)+params(1, env("POST", "/", "CONTENT_LENGTH", "4"))+mk(tStdin, 1, "body")+mk(tStdin, 1, ""), "") {
			c.send(b)
		}
		c.wantBody(1, "body")
	})
}

// Input that ends at any byte, and a web server that is gone at any byte, leave
// nothing behind. The app's end checks the counters.
func TestTruncatedAtEveryByte(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Write(make([]byte, 100_000))
		})
		for i := range len(everything) {
			c := a.dial()
			c.send(everything[:i])
			if i%2 == 0 {
				c.Conn.(interface{ CloseWrite() error }).CloseWrite()
				if s := describe(c.Conn); strings.Contains(s, "record header") {
					t.Fatalf("cut at byte %d: %s", i, s)
				}
			}
			c.Close()
			get(t, w, a.ends, "the end of the connection")
		}
		c := a.dial()
		c.send(posting(1, keep, "/", "body"))
		c.answer(1)
	})
}

// Records at random: some make sense, some do not.
func TestGarbage(t *testing.T) {
	for _, w := range []world{unixWorld, netWorld} {
		t.Run(w.name, func(t *testing.T) {
			a := w.start(t, &fcgi.Server{
				Handler:    http.HandlerFunc(path),
				Authorizer: http.HandlerFunc(authorize),
				Filter:     http.HandlerFunc(filter),
				Logger:     slog.New(slog.DiscardHandler),
			})
			rnd := rand.New(rand.NewPCG(1, 2))
			before := heap()
			a.beside(func() {
				for range 300 {
					c := a.dial()
					read := make(chan string, 1)
					go func() { read <- describe(c.Conn) }()
					c.sendLate(garbage(rnd))
					c.Conn.(interface{ CloseWrite() error }).CloseWrite()
					if s := get(t, w, read, "the answers' end"); strings.Contains(s, "record header") {
						t.Fatal(s)
					}
					c.Close()
				}
			})
			wantHeap(t, before, 4<<20, "garbage")
		})
	}
}

// garbage makes records of random kinds for a few ids.
func garbage(rnd *rand.Rand) string {
	var b strings.Builder
	for range rnd.IntN(60) {
		id := uint16(rnd.IntN(4))
		switch rnd.IntN(10) {
		case 0, 1:
			b.WriteString(beginRole(id, uint16(rnd.IntN(5)), byte(rnd.IntN(3))))
		case 2, 3:
			b.WriteString(mk(tParams, id, env("POST", "/garbage", "CONTENT_LENGTH", fmt.Sprint(rnd.IntN(9)-1))))
		case 4, 5:
			b.WriteString(mk(byte(tParams+rnd.IntN(2)), id, ""))
		case 6:
			b.WriteString(mk(tStdin, id, strings.Repeat("x", rnd.IntN(10))))
		case 7:
			b.WriteString(mk(tData, id, strings.Repeat("x", rnd.IntN(2))))
		case 8:
			junk := make([]byte, rnd.IntN(20))
			for i := range junk {
				junk[i] = byte(rnd.Uint32())
			}
			b.WriteString(mk(byte(rnd.IntN(14)), id, string(junk)))
		case 9:
			if rnd.IntN(8) == 0 {
				b.WriteByte(byte(rnd.Uint32())) // from here on nothing fits
			}
		}
	}
	return b.String()
}

// Whatever comes over a connection, what goes back is records in order, and
// nothing is left of it.
func FuzzConnection(f *testing.F) {
	f.Add([]byte(everything))
	f.Add([]byte(getting(1, keep, "/") + getting(1, 0, "/")))
	f.Add([]byte(begin(1, keep) + mk(tAbort, 1, "") + beginRole(1, 3, keep) + params(1, env("POST", "/", "FCGI_DATA_LENGTH", "3")) + mk(tStdin, 1, "") + mk(tData, 1, "abc") + mk(tData, 1, "")))
	f.Add([]byte(beginRole(1, 2, 0) + params(1, "\xff\xff\xff\xff\xff\xff\xff\xff")))
	f.Fuzz(func(t *testing.T, b []byte) {
		synctest.Test(t, func(t *testing.T) {
			a := memWorld.start(t, &fcgi.Server{
				Handler:       http.HandlerFunc(echo),
				Authorizer:    http.HandlerFunc(authorize),
				Filter:        http.HandlerFunc(filter),
				Logger:        slog.New(slog.DiscardHandler),
				BodyTimeout:   time.Second,
				ParamsTimeout: time.Second,
			})
			c := a.dial()
			go func() {
				c.sendLate(string(b))
				c.Conn.(interface{ CloseWrite() error }).CloseWrite()
			}()
			state := make(map[uint16]int) // 1: STDOUT has ended
			for {
				r, err := c.tryRecord()
				if err != nil {
					if err != io.EOF && !strings.Contains(err.Error(), "reset") {
						t.Errorf("%q: %v", b, err)
					}
					break
				}
				switch {
				case r.kind == tStdout && state[r.id] == 0:
					if r.content == "" {
						state[r.id] = 1
					}
				case r.kind == tEnd && len(r.content) == 8 && (state[r.id] == 1 || r.content[4] != 0):
					delete(state, r.id)
				case r.id == 0 && (r.kind == tGetValuesResult || r.kind == tUnknownType):
				default:
					t.Fatalf("%q: a record that does not belong here: %+v", b, r)
				}
			}
			c.Close()
		})
	})
}
