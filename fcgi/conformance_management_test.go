package fcgi_test

import (
	"net/http"
	"testing"

	"github.com/hythe-go/hythe/fcgi"
)

// Management records: section 4.

// FCGI_GET_VALUES is answered in one record, with those names that were asked
// for and are known: section 4.1.
func TestSpec_4_1_GetValues(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		a := w.start(t, &fcgi.Server{Handler: http.HandlerFunc(path), Limits: fcgi.Limits{Requests: 50}})
		c := a.dial()
		const (
			conns = "\x0e\x00FCGI_MAX_CONNS"
			reqs  = "\x0d\x00FCGI_MAX_REQS"
			mpxs  = "\x0f\x00FCGI_MPXS_CONNS"
		)
		for _, test := range []struct{ name, asked, want string }{
			{"one", mpxs,
				"\x01\x0a\x00\x00\x00\x12\x06\x00" + "\x0f\x01FCGI_MPXS_CONNS1" + "\x00\x00\x00\x00\x00\x00"},
			{"another", reqs,
				"\x01\x0a\x00\x00\x00\x11\x07\x00" + "\x0d\x02FCGI_MAX_REQS50" + "\x00\x00\x00\x00\x00\x00\x00"},
			{"the third", conns,
				"\x01\x0a\x00\x00\x00\x12\x06\x00" + "\x0e\x02FCGI_MAX_CONNS50" + "\x00\x00\x00\x00\x00\x00"},
			{"all, in the order asked", conns + reqs + mpxs,
				"\x01\x0a\x00\x00\x00\x35\x03\x00" + "\x0e\x02FCGI_MAX_CONNS50" + "\x0d\x02FCGI_MAX_REQS50" + "\x0f\x01FCGI_MPXS_CONNS1" + "\x00\x00\x00"},
			{"none", "",
				"\x01\x0a\x00\x00\x00\x00\x00\x00"},
			{"unknown ones", "\x0b\x00FCGI_COLOUR" + "\x0f\x00fcgi_mpxs_conns" + "\x00\x00",
				"\x01\x0a\x00\x00\x00\x00\x00\x00"},
			{"a known one between unknown ones", "\x01\x00A" + mpxs + "\x01\x00B",
				"\x01\x0a\x00\x00\x00\x12\x06\x00" + "\x0f\x01FCGI_MPXS_CONNS1" + "\x00\x00\x00\x00\x00\x00"},
			{"one twice", mpxs + mpxs,
				"\x01\x0a\x00\x00\x00\x12\x06\x00" + "\x0f\x01FCGI_MPXS_CONNS1" + "\x00\x00\x00\x00\x00\x00"},
			{"with a value", "\x0f\x04FCGI_MPXS_CONNSjunk",
				"\x01\x0a\x00\x00\x00\x12\x06\x00" + "\x0f\x01FCGI_MPXS_CONNS1" + "\x00\x00\x00\x00\x00\x00"},
			{"with a long form of a length", "\x80\x00\x00\x0f\x80\x00\x00\x00FCGI_MPXS_CONNS",
				"\x01\x0a\x00\x00\x00\x12\x06\x00" + "\x0f\x01FCGI_MPXS_CONNS1" + "\x00\x00\x00\x00\x00\x00"},
		} {
			c.send(mk(tGetValues, 0, test.asked))
			got := make([]byte, len(test.want))
			if n, _ := c.r.Read(got); string(got[:n]) != test.want {
				t.Fatalf("%s: got %q\nwant %q", test.name, got[:n], test.want)
			}
		}
		c.wantOpen() // and nothing more came
	})
}

// The answer does not wait for the next record (HAProxy asks first and waits),
// nor for a request to end, nor for one to begin.
func TestSpec_4_1_GetValuesAtAnyTime(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		g := newGate(t)
		c := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			g.wait(r)
			echo(w, r)
		}).dial()
		c.wantOpen()
		c.send(begin(1, keep))
		c.wantOpen()
		c.send(mk(tParams, 1, env("POST", "/")))
		c.wantOpen()
		c.send(mk(tParams, 1, ""))
		c.wantOpen()
		c.send(mk(tStdin, 1, "bo"))
		c.wantOpen()
		get(t, w, g.entered, "the handler")
		c.wantOpen()
		c.send(mk(tStdin, 1, "dy"), mk(tStdin, 1, ""))
		c.wantOpen()
		g.pass()
		c.wantBody(1, "body")
		c.wantOpen()
	})
}

// Other management records, and those of applications under id 0, are answered
// with their type: section 4.2.
func TestSpec_4_2_UnknownType(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, path).dial()
		for _, kind := range []byte{12, 13, 127, 255, 0, tBegin, tAbort, tEnd, tParams, tStdin, tStdout, tStderr, tData, tGetValuesResult, tUnknownType} {
			for _, content := range []string{"", "\x00\x01\x01\x00\x00\x00\x00\x00", string(make([]byte, 65535))} {
				c.send(mk(kind, 0, content))
				c.want("\x01\x0b\x00\x00\x00\x08\x00\x00" + string([]byte{kind}) + "\x00\x00\x00\x00\x00\x00\x00")
			}
		}
		c.wantOpen()
		c.send(getting(1, keep, "/served"))
		c.wantBody(1, "/served")
	})
}

// In the middle of a request as well, which is not disturbed.
func TestSpec_4_2_UnknownTypeDuringARequest(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, echo).dial()
		c.send(begin(1, keep), mk(200, 0, "what?"), params(1, env("POST", "/", "CONTENT_LENGTH", "4")), mk(tStdin, 1, "bo"), mk(201, 0, ""))
		c.want("\x01\x0b\x00\x00\x00\x08\x00\x00" + "\xc8" + "\x00\x00\x00\x00\x00\x00\x00")
		for r := c.record(); r.kind != tUnknownType; r = c.record() { // output of the request may be there
			if r.kind != tStdout {
				t.Fatalf("got %+v", r)
			}
		}
		c.send(mk(tStdin, 1, "dy"), mk(tStdin, 1, ""))
		for r := c.record(); r.kind != tEnd; r = c.record() {
			if r.kind != tStdout {
				t.Fatalf("got %+v", r)
			}
		}
		c.wantOpen()
	})
}

// Types that are unknown, the application's own and management types are
// nothing under the id of a request: they are ignored, and it goes on.
func TestSpec_3_3_UnknownTypesOfARequest(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, readAll).dial()
		junk := ""
		for _, kind := range []byte{0, 3, 6, 7, 8, 9, 10, 11, 12, 100, 255} {
			junk += mk(kind, 1, "") + mk(kind, 1, "\x0f\x00FCGI_MPXS_CONNS")
		}
		c.send(begin(1, keep), junk, mk(tParams, 1, env("POST", "/", "CONTENT_LENGTH", "4")), junk, mk(tParams, 1, ""), junk, mk(tStdin, 1, "bo"), junk, mk(tStdin, 1, "dy"), junk, mk(tStdin, 1, ""), junk)
		c.wantBody(1, `"body" <nil>`)
		c.wantOpen()
	})
}
