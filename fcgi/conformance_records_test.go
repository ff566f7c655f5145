package fcgi_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/fcgi"
)

// The format of records and pairs: section 3 of the specification.

// A first byte that is not 1 is no FastCGI of ours: nothing is served, whatever
// follows.
func TestSpec_3_3_Version(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) { t.Errorf("%v was served", r.URL) })
		for _, bytes := range []string{
			"\x00" + getting(1, keep, "/")[1:],
			"\x02" + getting(1, keep, "/")[1:],
			"\xff" + getting(1, keep, "/")[1:],
			"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"\x02", // it is wrong already
			begin(1, keep) + "\x00" + params(1, env("GET", "/"))[1:] + mk(tStdin, 1, ""),
		} {
			c := a.dial()
			c.sendLate(bytes)
			c.wantGone()
			a.wantEnd(hythe.BadFrame)
		}
	})
}

// What was answered before stays answered, and what is being worked on is
// cancelled: its connection is gone.
func TestSpec_3_3_VersionAfterRequests(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		g := newGate(t)
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/wait" {
				g.wait(r)
				return
			}
			path(w, r)
		})
		c := a.dial()
		c.send(getting(1, keep, "/first"))
		c.wantBody(1, "/first")
		c.send(getting(2, keep, "/wait"))
		get(t, w, g.entered, "the handler")
		c.sendLate("\x07garbage")
		c.wantGone()
		if err := get(t, w, g.left, "the context to end"); err == nil {
			t.Error("the context has no cause")
		}
		a.wantEnd(hythe.BadFrame)
	})
}

// Any record may be padded with up to 255 bytes of anything, an empty one too.
func TestSpec_3_3_Padding(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, echo).dial()
		pad := func(rec string, n int) string {
			return rec[:6] + string([]byte{byte(n)}) + rec[7:] + strings.Repeat("\x01", n) // \x01 looks like a record
		}
		for _, n := range []int{1, 7, 8, 128, 255} {
			c.send(
				pad(mk(tGetValues, 0, "\x0f\x00FCGI_MPXS_CONNS"), n),
				pad(begin(1, keep), n),
				pad(mk(tParams, 1, env("POST", "/", "CONTENT_LENGTH", "4")), n),
				pad(mk(tParams, 1, ""), n),
				pad(mk(tStdin, 1, "bo"), n),
				pad(mk(tData, 1, "what a responder does not want"), n),
				pad(mk(tAbort, 99, ""), n),
				pad(mk(tStdin, 1, "dy"), n),
				pad(mk(tStdin, 1, ""), n),
			)
			c.want("\x01\x0a\x00\x00\x00\x12\x06\x00" + "\x0f\x01FCGI_MPXS_CONNS1" + "\x00\x00\x00\x00\x00\x00")
			c.wantBody(1, "body")
		}
		c.wantOpen()
	})
}

// The header's last byte is reserved: 0 is sent, anything is taken.
func TestSpec_3_3_ReservedByte(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, path).dial()
		c.send("\x01\x01\x00\x01\x00\x08\x00\xee" + "\x00\x01\x01\xee\xee\xee\xee\xee") // the body's too: 5.1
		c.send(params(1, env("GET", "/reserved")), mk(tStdin, 1, ""))
		c.wantBody(1, "/reserved")
	})
}

// Ids have 16 bits, and an application uses those that it is given.
func TestSpec_3_3_RequestIds(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, path).dial()
		for _, id := range []uint16{1, 2, 255, 256, 257, 0x8000, 65535} {
			c.send(getting(id, keep, fmt.Sprint("/", id)))
			c.wantBody(id, fmt.Sprint("/", id))
		}
	})
}

// Records for ids that are not active are ignored: unknown ones, and those that
// come late for a request that was answered.
func TestSpec_3_3_InactiveIds(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, path).dial()
		c.send(mk(tParams, 7, env("GET", "/none")), mk(tParams, 7, ""), mk(tStdin, 7, "body"), mk(tStdin, 7, ""), mk(tAbort, 7, ""), mk(tData, 7, "x"))
		c.wantOpen()
		c.send(begin(1, keep), params(1, env("POST", "/early", "CONTENT_LENGTH", "5")), mk(tStdin, 1, "ab"))
		c.wantBody(1, "/early") // the handler does not read the body
		c.send(mk(tStdin, 1, "cde"), mk(tStdin, 1, ""), mk(tAbort, 1, ""), mk(tParams, 1, "garbage"))
		c.wantOpen()
		c.send(getting(1, keep, "/again"))
		c.wantBody(1, "/again")
	})
}

// BEGIN_REQUEST for an id that is active is a fault that section 3.3 leaves
// open. Answers could no longer be told apart, so the connection ends.
func TestSpec_3_3_ActiveIdBegunAgain(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		g := newGate(t)
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) { g.wait(r) })
		c := a.dial()
		c.send(getting(1, keep, "/"))
		get(t, w, g.entered, "the handler")
		c.sendLate(begin(1, keep))
		c.wantGone()
		if err := get(t, w, g.left, "the context to end"); err == nil {
			t.Error("the context has no cause")
		}
		a.wantEnd(hythe.BadFrame)
	})
}

// The borders of a stream's records mean nothing: a pair may straddle them at
// every byte, its lengths too.
func TestSpec_3_3_ParamsAcrossRecords(t *testing.T) {
	pairs := env("GET", "/split", "HTTP_X_LONG", strings.Repeat("v", 200)) // a 4-byte length as well
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.URL.Path, len(r.Header.Get("X-Long")))
		}).dial()
		for i := 1; i < len(pairs); i++ {
			c.send(begin(1, keep), mk(tParams, 1, pairs[:i]), mk(tParams, 1, pairs[i:]), mk(tParams, 1, ""), mk(tStdin, 1, ""))
			c.wantBody(1, "/split200")
		}
		c.send(begin(1, keep))
		for i := range pairs { // a record for each byte
			c.send(mk(tParams, 1, pairs[i:i+1]))
		}
		c.send(mk(tParams, 1, ""), mk(tStdin, 1, ""))
		c.wantBody(1, "/split200")
	})
}

func TestSpec_3_3_StdinAcrossRecords(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, echo).dial()
		body := strings.Repeat("0123456789", 7)
		for n := 1; n <= len(body); n++ {
			c.send(begin(1, keep), params(1, env("POST", "/", "CONTENT_LENGTH", fmt.Sprint(len(body)))))
			for rest := body; rest != ""; {
				k := min(n, len(rest))
				c.send(mk(tStdin, 1, rest[:k]))
				rest = rest[k:]
			}
			c.send(mk(tStdin, 1, ""))
			c.wantBody(1, body)
		}
	})
}

// A record may be as large as its length field can say.
func TestSpec_3_3_LargestRecords(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, len(r.Header.Get("X-Long")), " ", n, " ", err)
		}).dial()
		pairs := env("POST", "/", "CONTENT_LENGTH", "131070", "HTTP_X_LONG", "")
		value := strings.Repeat("x", 65535-len(pairs)-3)
		pairs = env("POST", "/", "CONTENT_LENGTH", "131070", "HTTP_X_LONG", value)
		if len(pairs) != 65535 {
			t.Fatalf("%d bytes of pairs", len(pairs))
		}
		body := strings.Repeat("b", 65535)
		c.send(begin(1, keep), params(1, pairs), mk(tStdin, 1, body), mk(tStdin, 1, body), mk(tStdin, 1, ""))
		c.wantBody(1, fmt.Sprintf("%d 131070 <nil>", len(value)))
	})
}

// All four forms of the lengths of a pair, the longer one for small numbers too:
// section 3.4.
func TestSpec_3_4_PairForms(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			for name, value := range fcgi.Params(r) {
				fmt.Fprintf(w, "%s=%s;", name, value)
			}
		})
		c := a.dial()
		n127, n128 := strings.Repeat("N", 127), strings.Repeat("N", 128)
		v127, v128, v70k := strings.Repeat("v", 127), strings.Repeat("v", 128), strings.Repeat("v", 70000)
		for _, test := range []struct{ wire, want string }{
			{"\x01\x01" + "Ab", "A=b;"},                                                 // 11
			{"\x01\x80\x00\x00\x01" + "Ab", "A=b;"},                                     // 14
			{"\x80\x00\x00\x01\x01" + "Ab", "A=b;"},                                     // 41
			{"\x80\x00\x00\x01\x80\x00\x00\x01" + "Ab", "A=b;"},                         // 44
			{"\x01\x00" + "A", "A=;"},                                                   // an empty value
			{"\x01\x80\x00\x00\x00" + "A", "A=;"},                                       //
			{"\x00\x01" + "b", "=b;"},                                                   // an empty name
			{"\x00\x00", "=;"},                                                          //
			{"\x7f\x7f" + n127 + v127, n127 + "=" + v127 + ";"},                         // the largest short ones
			{"\x80\x00\x00\x80\x80\x00\x00\x80" + n128 + v128, n128 + "=" + v128 + ";"}, // the smallest long ones
			{"\x01\x01Ab" + "\x01\x01Ac", "A=b;A=c;"},                                   // twice, in order
			{"\x01\x80\x01\x11\x70" + "A" + v70k, "A=" + v70k + ";"},                    // more than a record
			{"", ""},                           // none at all
			{"\x01\x01\xff\xfe", "\xff=\xfe;"}, // bytes, not text
			{strings.Repeat("\x01\x01Ab", 1000), strings.Repeat("A=b;", 1000)}, // as many as are allowed
		} {
			c.send(begin(1, keep))
			for rest := test.wire; rest != ""; {
				k := min(len(rest), 65535)
				c.send(mk(tParams, 1, rest[:k]))
				rest = rest[k:]
			}
			c.send(mk(tParams, 1, ""), mk(tStdin, 1, ""))
			c.wantBody(1, test.want)
		}
	})
}

// BEGIN_REQUEST has 8 bytes: section 5.1. With another length it is not known
// what was meant, nor what follows.
func TestSpec_5_1_BeginRequestLength(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) { t.Errorf("%v was served", r.URL) })
		for _, body := range []string{"", "\x00", "\x00\x01\x01", "\x00\x01\x01\x00\x00\x00\x00", "\x00\x01\x01\x00\x00\x00\x00\x00\x00"} {
			c := a.dial()
			c.sendLate(mk(tBegin, 1, body), params(1, env("GET", "/")), mk(tStdin, 1, ""))
			c.wantGone()
			a.wantEnd(hythe.BadFrame)
		}
	})
}

// Of the flags only KEEP_CONN means something.
func TestSpec_5_1_Flags(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		a := w.serve(t, path)
		c := a.dial()
		c.send(getting(1, 0xff, "/kept"))
		c.wantBody(1, "/kept")
		c.send(getting(1, 0xfe, "/last"))
		c.wantBody(1, "/last")
		c.wantEOF()
		a.wantEnd(hythe.Finished)
	})
}

// END_REQUEST, byte by byte: section 5.5.
func TestSpec_5_5_EndRequest(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			fcgi.SetAppStatus(w, 0xdeadbeef)
			w.WriteHeader(http.StatusNoContent)
		}).dial()
		c.send(getting(0x1234, 0, "/"))
		c.want("\x01\x06\x12\x34\x00\x1a\x06\x00" + "Status: 204 No Content\r\n\r\n" + "\x00\x00\x00\x00\x00\x00" + // STDOUT
			"\x01\x06\x12\x34\x00\x00\x00\x00" + // its end
			"\x01\x03\x12\x34\x00\x08\x00\x00" + "\xde\xad\xbe\xef" + "\x00" + "\x00\x00\x00") // END_REQUEST
		c.wantEOF()
	})
}

// KEEP_CONN decides who closes the connection: section 5.1 and 3.5.
func TestSpec_3_5_KeepConn(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		a := w.serve(t, path)
		c := a.dial()
		for range 3 {
			c.send(getting(1, keep, "/kept"))
			c.wantBody(1, "/kept")
		}
		c.wantOpen()
		c.send(getting(1, 0, "/last"))
		c.wantBody(1, "/last")
		c.wantEOF()
		a.wantEnd(hythe.Finished)
	})
}

// An id is free from its END_REQUEST on. A web server that expects the answer
// may send the next request along with the last one.
func TestSpec_3_5_IdReusedInTheSameSegment(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, path).dial()
		c.send(getting(1, keep, "/1"))
		c.wantBody(1, "/1")
		c.send(mk(tStdin, 1, "late"), getting(1, keep, "/2"))
		c.wantBody(1, "/2")
		c.send(getting(1, keep, "/3"), getting(2, keep, "/4")) // another id need not wait
		got := map[uint16]string{}
		for _, a := range c.answers(2) {
			got[a.id] = a.body()
		}
		if got[1] != "/3" || got[2] != "/4" {
			t.Errorf("got %v", got)
		}
	})
}

// A request without KEEP_CONN does not cut off the others on its connection:
// the last one takes it along.
func TestSpec_3_5_CloseAfterTheLast(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		g := newGate(t)
		a := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				g.wait(r)
			}
			path(w, r)
		})
		c := a.dial()
		c.send(getting(1, keep, "/slow"))
		get(t, w, g.entered, "the handler")
		c.send(getting(2, 0, "/last"))
		c.wantBody(2, "/last")
		c.wantOpen()
		g.pass()
		c.wantBody(1, "/slow")
		c.wantEOF()
		a.wantEnd(hythe.Finished)
	})
}

// The web server may close what it has kept, between requests.
func TestSpec_3_5_WebServerCloses(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		a := w.serve(t, path)
		c := a.dial()
		c.send(getting(1, keep, "/"))
		c.wantBody(1, "/")
		c.Close()
		a.wantEnd(hythe.PeerDone)
	})
}
