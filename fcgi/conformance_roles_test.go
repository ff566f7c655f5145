package fcgi_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/fcgi"
)

// The roles: section 6.

func authorize(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if len(body) > 0 || err != nil {
		fmt.Fprintf(w, "a body: %q, %v", body, err)
	}
	if r.Header.Get("Authorization") == "Basic b2s6b2s=" {
		fcgi.SetVariable(w, "AUTH_METHOD", "password")
		fcgi.SetVariable(w, "user_id", "42")
		return
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
	w.WriteHeader(http.StatusUnauthorized)
	io.WriteString(w, "denied\n")
}

// An Authorizer answers when it has the parameters: there is no body, and only
// some web servers send an end of it. Section 6.3.
func TestSpec_6_3_Authorizer(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.start(t, &fcgi.Server{Authorizer: http.HandlerFunc(authorize)}).dial()
		for _, stdin := range []string{"", mk(tStdin, 1, ""), mk(tStdin, 1, "junk") + mk(tStdin, 1, "")} {
			c.send(beginRole(1, 2, keep), params(1, env("GET", "/", "HTTP_AUTHORIZATION", "Basic b2s6b2s=")), stdin)
			a := c.answer(1)
			for _, want := range []string{"Status: 200 OK\r\n", "\r\nVariable-AUTH_METHOD: password\r\n", "\r\nVariable-user_id: 42\r\n"} {
				if !strings.Contains(a.out, want) {
					t.Errorf("got %q, without %q", a.out, want)
				}
			}
			if a.body() != "" {
				t.Errorf("got the body %q", a.body())
			}
			c.send(beginRole(1, 2, keep), params(1, env("GET", "/")), stdin)
			if a := c.answer(1); a.httpStatus() != "Status: 401 Unauthorized" || a.body() != "denied\n" || !strings.Contains(a.out, "\r\nWww-Authenticate: ") {
				t.Errorf("got %q", a.out)
			}
		}
		c.send(getting(1, keep, "/")) // no Responder
		c.wantRefused(1, 3)
		c.wantOpen()
	})
}

// filter tells what it got.
func filter(w http.ResponseWriter, r *http.Request) {
	stdin, err := io.ReadAll(r.Body)
	d := fcgi.Data(r)
	data, derr := io.ReadAll(d)
	fmt.Fprintf(w, "%q %v %q %v %d %d", stdin, err, bytes.ToUpper(data), derr, d.Length, d.ModTime.Unix())
}

// A Filter gets a file as well, after STDIN: section 6.4.
func TestSpec_6_4_Filter(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.start(t, &fcgi.Server{Filter: http.HandlerFunc(filter)}).dial()
		for _, test := range []struct{ length, data, want string }{
			{"4", "file", `"body" <nil> "FILE" <nil> 4 1000000000`},
			{"5", "file", `"body" <nil> "FILE" unexpected EOF 5 1000000000`},
			{"0", "", `"body" <nil> "" <nil> 0 1000000000`},
		} {
			pairs := env("POST", "/", "CONTENT_LENGTH", "4", "FCGI_DATA_LENGTH", test.length, "FCGI_DATA_LAST_MOD", "1000000000")
			c.send(beginRole(1, 3, keep), params(1, pairs), mk(tStdin, 1, "bo"), mk(tStdin, 1, "dy"), mk(tStdin, 1, ""))
			if test.data != "" {
				c.send(mk(tData, 1, test.data[:2]), mk(tData, 1, test.data[2:]))
			}
			c.send(mk(tData, 1, ""))
			c.wantBody(1, test.want)
		}
		c.wantOpen()
	})
}

// A large file in either order of reading.
func TestSpec_6_4_FilterStreams(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.start(t, &fcgi.Server{Filter: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			data, err := io.Copy(io.Discard, fcgi.Data(r))
			stdin, err2 := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, stdin, err2, data, err)
		})}).dial()
		const size = 1 << 20
		c.send(beginRole(1, 3, keep), params(1, env("POST", "/", "CONTENT_LENGTH", fmt.Sprint(size), "FCGI_DATA_LENGTH", fmt.Sprint(size))))
		for _, kind := range []byte{tStdin, tData} {
			for range size / 32768 {
				c.send(mk(kind, 1, strings.Repeat("x", 32768)))
			}
			c.send(mk(kind, 1, ""))
		}
		c.wantBody(1, fmt.Sprint(size, nil, size, nil))
	})
}

// DATA means nothing to a Responder.
func TestSpec_6_2_DataToAResponder(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, readAll).dial()
		c.send(begin(1, keep), mk(tData, 1, "x"), params(1, env("POST", "/")), mk(tData, 1, "y"), mk(tStdin, 1, "body"), mk(tData, 1, ""), mk(tStdin, 1, ""))
		c.wantBody(1, `"body" <nil>`)
	})
}

// The application's headers are CGI's: Status in place of a status line, also
// for a redirect, and no second one. Section 6.2.
func TestSpec_6_2_Headers(t *testing.T) {
	inWorlds(t, func(t *testing.T, w world) {
		c := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("X-One", "1")
			h.Add("Set-Cookie", "a=1")
			h.Add("Set-Cookie", "b=2")
			h.Set("Status", "299 Mine")
			h.Set("X-Injected", "a\r\nX-Evil: 1")
			h["X-Evil: 2\r\nX"] = []string{"y"}
			h.Set("X-Nul", "a\x00b")
			http.Redirect(w, r, "/there", http.StatusFound)
		}).dial()
		c.send(getting(1, keep, "/"))
		a := c.answer(1)
		head, _, _ := strings.Cut(a.out, "\r\n\r\n")
		if a.httpStatus() != "Status: 302 Found" || strings.Count(head, "Status") != 1 || strings.Contains(head, "Evil") || strings.Contains(head, "299") || strings.Contains(head, "\x00") ||
			!strings.Contains("\r\n"+head, "\r\nLocation: /there") || !strings.Contains(head, "\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2") {
			t.Errorf("got %q", head)
		}
	})
}
