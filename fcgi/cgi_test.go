package fcgi

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"testing"
)

// asked returns the http.Request that the parameters make, as a handler sees it,
// and the reply.
func asked(t *testing.T, body string, env ...string) (*http.Request, *reply) {
	t.Helper()
	var got *http.Request
	p := dial(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		io.Copy(io.Discard, r.Body)
	})
	p.send(ask(1, flagKeepConn, body, env...))
	a := p.reply(1)
	return got, a
}

func TestURL(t *testing.T) {
	for _, test := range []struct {
		name           string
		env            []string
		path, raw      string
		query, reqURI  string
		wantRefused    bool
		scriptPathOnly bool
	}{
		{name: "nginx", env: []string{"REQUEST_URI", "/env?q=1", "SCRIPT_NAME", "/env", "QUERY_STRING", "q=1"}, path: "/env", query: "q=1", reqURI: "/env?q=1"},
		{name: "lighttpd, mod_fcgid, Caddy", env: []string{"REQUEST_URI", "/env?q=1", "SCRIPT_NAME", "", "PATH_INFO", "/env", "QUERY_STRING", "q=1"}, path: "/env", query: "q=1", reqURI: "/env?q=1"},
		{name: "no REQUEST_URI", env: []string{"SCRIPT_NAME", "/app", "PATH_INFO", "/a b", "QUERY_STRING", "x=y"}, path: "/app/a b", query: "x=y", reqURI: "/app/a%20b?x=y"},
		{name: "nothing", path: "/", reqURI: "/"},
		{name: "escapes", env: []string{"REQUEST_URI", "/a%2Fb%20c?%41"}, path: "/a/b c", raw: "/a%2Fb%20c", query: "%41", reqURI: "/a%2Fb%20c?%41"},
		{name: "a newline in the path", env: []string{"REQUEST_URI", "/x%0a.php"}, path: "/x\n.php", raw: "/x%0a.php", reqURI: "/x%0a.php"},
		{name: "two slashes are no host", env: []string{"REQUEST_URI", "//evil.example/x"}, path: "//evil.example/x", reqURI: "//evil.example/x"},
		{name: "absolute form", env: []string{"REQUEST_URI", "http://other.example/x?y"}, path: "/x", query: "y", reqURI: "http://other.example/x?y"},
		{name: "asterisk form", env: []string{"REQUEST_METHOD", "OPTIONS", "REQUEST_URI", "*"}, path: "*", reqURI: "*"},
		{name: "a bad escape", env: []string{"REQUEST_URI", "/%zz"}, wantRefused: true},
		{name: "a control character", env: []string{"REQUEST_URI", "/\x7f"}, wantRefused: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, a := asked(t, "", append(test.env, "HTTP_HOST", "example.org")...)
			if test.wantRefused {
				if r != nil || a.head("Status") != "400 Bad Request" {
					t.Errorf("got %v, %q; want it refused", r, a.out)
				}
				return
			}
			u := r.URL
			if u.Path != test.path || u.RawPath != test.raw || u.RawQuery != test.query || r.RequestURI != test.reqURI {
				t.Errorf("got path %q, raw %q, query %q, RequestURI %q; want %q, %q, %q, %q",
					u.Path, u.RawPath, u.RawQuery, r.RequestURI, test.path, test.raw, test.query, test.reqURI)
			}
			if u.Host != "example.org" || r.Host != "example.org" || u.Scheme != "http" {
				t.Errorf("got host %q, Host %q, scheme %q", u.Host, r.Host, u.Scheme)
			}
		})
	}
}

func TestHost(t *testing.T) {
	for _, test := range []struct {
		env  []string
		want string // "" means refused
	}{
		{[]string{"HTTP_HOST", "example.org:8080", "SERVER_NAME", "x"}, "example.org:8080"},
		{[]string{"HTTP_HOST", "[2001:db8::1]:80"}, "[2001:db8::1]:80"},
		{[]string{"SERVER_NAME", "example.org", "SERVER_PORT", "80"}, "example.org"},
		{[]string{"SERVER_NAME", "example.org", "SERVER_PORT", "8080"}, "example.org:8080"},
		{[]string{"HTTP_HOST", "good.example@evil.example"}, ""}, // golang/go#81686
		{[]string{"HTTP_HOST", "a/b"}, ""},
		{[]string{"HTTP_HOST", "a b"}, ""},
		{[]string{"HTTP_HOST", "a?b"}, ""},
	} {
		r, a := asked(t, "", test.env...)
		switch {
		case test.want == "":
			if r != nil || a.head("Status") != "400 Bad Request" {
				t.Errorf("%q: got %q; want it refused", test.env, a.out)
			}
		case r.Host != test.want || r.URL.Host != test.want:
			t.Errorf("%q: got Host %q, URL.Host %q; want %q", test.env, r.Host, r.URL.Host, test.want)
		}
	}
}

func TestHTTPS(t *testing.T) {
	for _, test := range []struct {
		env  []string
		want bool
	}{
		{[]string{"HTTPS", "on"}, true},
		{[]string{"HTTPS", "ON"}, true},
		{[]string{"HTTPS", "1"}, true},
		{[]string{"HTTPS", "true"}, true},
		{[]string{"REQUEST_SCHEME", "https"}, true},
		{[]string{"HTTPS", ""}, false}, // older nginx
		{[]string{"HTTPS", "off"}, false},
		{nil, false},
	} {
		r, _ := asked(t, "", test.env...)
		if (r.TLS != nil) != test.want || (r.URL.Scheme == "https") != test.want {
			t.Errorf("%q: TLS %v, scheme %q; want %v", test.env, r.TLS, r.URL.Scheme, test.want)
		}
	}
}

func TestRemoteAddr(t *testing.T) {
	for _, test := range []struct{ addr, port, want string }{
		{"192.0.2.7", "4711", "192.0.2.7:4711"},
		{"192.0.2.7", "", "192.0.2.7:0"},
		{"2001:db8::1", "80", "[2001:db8::1]:80"},
		{"", "", ""},
		{"unix:", "", ""},
	} {
		if r, _ := asked(t, "", "REMOTE_ADDR", test.addr, "REMOTE_PORT", test.port); r.RemoteAddr != test.want {
			t.Errorf("%q, %q: RemoteAddr = %q, want %q", test.addr, test.port, r.RemoteAddr, test.want)
		}
	}
}

func TestHeaderFields(t *testing.T) {
	r, _ := asked(t, "abc",
		"REQUEST_METHOD", "POST",
		"SERVER_PROTOCOL", "HTTP/2.0",
		"CONTENT_LENGTH", "3",
		"CONTENT_TYPE", "text/x",
		"HTTP_CONTENT_TYPE", "text/y",
		"HTTP_CONTENT_LENGTH", "4",
		"HTTP_TRANSFER_ENCODING", "chunked", // nginx sends it beside a CONTENT_LENGTH
		"HTTP_ACCEPT_LANGUAGE", "en",
		"HTTP_X_ODD_ONE", "1",
		"HTTP_X_ODD_ONE", "2",
		"HTTP_x_SMALL", "s",
		"HTTP_NO NAME", "x",
		"HTTP_", "x",
		"HTTP_PROXY", "evil",
		"REMOTE_USER", "me",
	)
	want := map[string]string{"Content-Type": "text/x", "Content-Length": "3", "Accept-Language": "en", "X-Odd-One": "2", "X-Small": "s"}
	got := make(map[string]string)
	for k, v := range r.Header {
		if len(v) != 1 || cap(v) != 1 {
			t.Errorf("%s: %q, of capacity %d", k, v, cap(v))
		}
		got[k] = v[0]
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if r.Proto != "HTTP/2.0" || r.ProtoMajor != 2 || r.ProtoMinor != 0 || r.Method != "POST" {
		t.Errorf("got %s, %d.%d, %s", r.Proto, r.ProtoMajor, r.ProtoMinor, r.Method)
	}
	if r.ContentLength != 3 || r.TransferEncoding != nil {
		t.Errorf("ContentLength %d, TransferEncoding %q", r.ContentLength, r.TransferEncoding)
	}
}

func TestCommonFieldsAreWhatOthersWouldBe(t *testing.T) {
	for _, name := range []string{"ACCEPT", "COOKIE", "DNT", "IF_NONE_MATCH", "SEC_CH_UA", "SEC_CH_UA_MOBILE", "SEC_FETCH_DEST",
		"UPGRADE_INSECURE_REQUESTS", "USER_AGENT", "X_FORWARDED_FOR", "X_REAL_IP", "X_REQUEST_ID", "X_REQUESTED_WITH"} {
		dashed := []byte(name)
		for i, b := range dashed {
			if b == '_' {
				dashed[i] = '-'
			}
		}
		if got, want := commonField(name), http.CanonicalHeaderKey(string(dashed)); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestContentLength(t *testing.T) {
	for _, test := range []struct {
		name, length, body string
		want               int64
		chunked, refused   bool
	}{
		{name: "right", length: "4", body: "body", want: 4},
		{name: "empty, with a body", length: "", body: "body", want: -1, chunked: true},
		{name: "-1, with a body", length: "-1", body: "body", want: -1, chunked: true}, // Caddy 2.6
		{name: "empty, without", length: "", want: 0},
		{name: "zero", length: "0", want: 0},
		{name: "no number", length: "4x", refused: true},
		{name: "negative", length: "-2", refused: true},
		{name: "signed", length: "+4", refused: true},
		{name: "too large for any number", length: "99999999999999999999", refused: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, a := asked(t, test.body, "REQUEST_METHOD", "POST", "CONTENT_LENGTH", test.length)
			if test.refused {
				if r != nil || a.head("Status") != "400 Bad Request" {
					t.Errorf("got %q; want it refused", a.out)
				}
				return
			}
			if r.ContentLength != test.want || slices.Contains(r.TransferEncoding, "chunked") != test.chunked {
				t.Errorf("ContentLength %d, TransferEncoding %q; want %d, %v", r.ContentLength, r.TransferEncoding, test.want, test.chunked)
			}
		})
	}
}

func TestParametersThatNoRequestCanHave(t *testing.T) {
	for _, env := range [][]string{
		{"HTTP_X", "a\x00b"}, {"X\x00", "a"}, {"HTTP_X", "a\r\nb"}, {"HTTP_X", "a\nb"}, {"REQUEST_METHOD", "GE T"}, {"REQUEST_METHOD", ""},
	} {
		if r, a := asked(t, "", env...); r != nil || a.head("Status") != "400 Bad Request" {
			t.Errorf("%q: got %q; want it refused", env, a.out)
		}
	}
}

func TestParams(t *testing.T) {
	var raw []string
	var env map[string]string
	var user, none string
	p := dial(t, func(w http.ResponseWriter, r *http.Request) {
		for n, v := range Params(r) {
			raw = append(raw, n, v)
		}
		env, user, none = ProcessEnv(r), Param(r, "REMOTE_USER"), Param(r, "NO_SUCH")
	})
	sent := []string{"REMOTE_USER", "first", "HTTP_PROXY", "evil", "ODD NAME", "\xff", "REMOTE_USER", "last", "EMPTY", ""}
	p.send(ask(1, flagKeepConn, "", sent...))
	p.reply(1)
	if !slices.Equal(raw, sent) {
		t.Errorf("Params: got %q, want %q", raw, sent)
	}
	if want := map[string]string{"REMOTE_USER": "last", "ODD NAME": "\xff", "EMPTY": ""}; !maps.Equal(env, want) {
		t.Errorf("ProcessEnv: got %q, want %q", env, want)
	}
	if user != "last" || none != "" {
		t.Errorf("Param: got %q, %q", user, none)
	}
	// Nothing of it is left for the next one.
	p.send(ask(1, flagKeepConn, ""))
	p.reply(1)
	if user != "" || len(env) != 0 {
		t.Errorf("the next request has %q, %q", user, env)
	}
	other, _ := http.NewRequest("GET", "/", nil)
	for range Params(other) {
		t.Error("a request of elsewhere has parameters")
	}
}

func TestPathInfo(t *testing.T) {
	var got []string
	p := dial(t, PathInfo(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.URL.Path, r.RequestURI)
	})).ServeHTTP)
	p.send(ask(1, flagKeepConn, "", "REQUEST_URI", "/app/a%20b", "SCRIPT_NAME", "/app", "PATH_INFO", "/a b"))
	p.reply(1)
	p.send(ask(1, flagKeepConn, "", "REQUEST_URI", "/app", "SCRIPT_NAME", "/app"))
	p.reply(1)
	if want := []string{"/a b", "/app/a%20b", "/", "/app"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
