package fcgi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/fcgi"
)

// What web servers really send, and what a handler must make of it: the
// variables of nginx, Apache, lighttpd, Caddy and HAProxy differ.
func TestRequestsOfWebServers(t *testing.T) {
	describe := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s?%s host=%s from=%s tls=%v %s len=%d proxy=%q", r.Method, r.RequestURI, r.URL.Path, r.URL.RawQuery,
			r.Host, r.RemoteAddr, r.TLS != nil, r.Proto, r.ContentLength, r.Header["Proxy"])
	}
	c := unixWorld.serve(t, describe).dial()
	for _, test := range []struct {
		name, pairs, want string
	}{
		{"nginx", nv("QUERY_STRING", "q=1") + nv("REQUEST_METHOD", "GET") + nv("CONTENT_TYPE", "") + nv("CONTENT_LENGTH", "") + nv("SCRIPT_NAME", "/env") + nv("REQUEST_URI", "/env?q=1") +
			nv("DOCUMENT_URI", "/env") + nv("SERVER_PROTOCOL", "HTTP/1.1") + nv("REQUEST_SCHEME", "http") + nv("HTTPS", "") + nv("REMOTE_ADDR", "192.0.2.1") + nv("REMOTE_PORT", "4711") + nv("SERVER_NAME", "") + nv("HTTP_HOST", "example.org"),
			"GET /env?q=1 /env?q=1 host=example.org from=192.0.2.1:4711 tls=false HTTP/1.1 len=0 proxy=[]"},
		{"Apache", nv("SCRIPT_FILENAME", "proxy:fcgi://host:9/env") + nv("REQUEST_METHOD", "GET") + nv("REQUEST_URI", "/env?q=1") + nv("SCRIPT_NAME", "/env") + nv("QUERY_STRING", "q=1") + nv("HTTPS", "on") + nv("SERVER_PROTOCOL", "HTTP/2.0") + nv("REMOTE_ADDR", "::1") + nv("HTTP_HOST", "[::1]:8443") + nv("HTTP_PROXY", "evil"),
			"GET /env?q=1 /env?q=1 host=[::1]:8443 from=[::1]:0 tls=true HTTP/2.0 len=0 proxy=[]"},
		{"lighttpd", nv("CONTENT_LENGTH", "0") + nv("SCRIPT_NAME", "") + nv("PATH_INFO", "/env") + nv("REQUEST_URI", "/env?q=1") + nv("QUERY_STRING", "q=1") + nv("REQUEST_METHOD", "HEAD") + nv("HTTPS", "ON") + nv("HTTP_HOST", "h"),
			""},
		{"no REQUEST_URI", nv("REQUEST_METHOD", "GET") + nv("SCRIPT_NAME", "/app") + nv("PATH_INFO", "/a b") + nv("QUERY_STRING", "x=%20") + nv("SERVER_NAME", "s") + nv("SERVER_PORT", "8080"),
			"GET /app/a%20b?x=%20 /app/a b?x=%20 host=s:8080 from= tls=false HTTP/1.1 len=0 proxy=[]"},
		{"an absolute URI", nv("REQUEST_METHOD", "GET") + nv("REQUEST_URI", "http://example.org/x?y") + nv("HTTP_HOST", "example.org"),
			"GET http://example.org/x?y /x?y host=example.org from= tls=false HTTP/1.1 len=0 proxy=[]"},
		{"OPTIONS *", nv("REQUEST_METHOD", "OPTIONS") + nv("REQUEST_URI", "*"),
			"OPTIONS * *? host= from= tls=false HTTP/1.1 len=0 proxy=[]"},
		{"encoded", nv("REQUEST_METHOD", "GET") + nv("REQUEST_URI", "/a%2fb%0a?c"),
			"GET /a%2fb%0a?c /a/b\n?c host= from= tls=false HTTP/1.1 len=0 proxy=[]"},
		{"nothing at all", "",
			"GET / /? host= from= tls=false HTTP/1.1 len=0 proxy=[]"},
		{"twice: the last one counts", nv("REQUEST_METHOD", "PUT") + nv("REQUEST_METHOD", "GET") + nv("REQUEST_URI", "/1") + nv("REQUEST_URI", "/2"),
			"GET /2 /2? host= from= tls=false HTTP/1.1 len=0 proxy=[]"},
		{"scheme", nv("REQUEST_URI", "/") + nv("REQUEST_SCHEME", "https") + nv("REMOTE_ADDR", "unix:"),
			"GET / /? host= from= tls=true HTTP/1.1 len=0 proxy=[]"},
	} {
		c.send(begin(1, keep), params(1, test.pairs), mk(tStdin, 1, ""))
		if a := c.answer(1); a.body() != test.want {
			t.Errorf("%s:\ngot  %q\nwant %q", test.name, a.body(), test.want)
		}
	}
}

// What no web server sends is refused, and the connection goes on.
func TestHostileParameters(t *testing.T) {
	c := unixWorld.serve(t, func(w http.ResponseWriter, r *http.Request) { t.Errorf("%q %q was served", r.Method, r.RequestURI) }).dial()
	for name, pairs := range map[string]string{
		"NUL in a value":         env("GET", "/") + nv("X", "a\x00b"),
		"NUL in a name":          env("GET", "/") + nv("X\x00Y", "a"),
		"LF in a value":          env("GET", "/") + nv("HTTP_X", "a\nb"),
		"CR in a value":          env("GET", "/") + nv("HTTP_X", "a\rb"),
		"a method with a space":  env("GET /", "/"),
		"an empty method":        env("", "/"),
		"a host with userinfo":   env("GET", "/", "HTTP_HOST", "good@evil"),
		"a host with a path":     env("GET", "/", "HTTP_HOST", "good/evil"),
		"a URI that is none":     env("GET", "/%zz"),
		"a length below zero":    env("GET", "/", "CONTENT_LENGTH", "-5"),
		"a pair cut off":         env("GET", "/") + "\x05\x05abc",
		"a length cut off":       env("GET", "/") + "\x80\x00",
		"a name of 2 GiB":        env("GET", "/") + "\xff\xff\xff\xff\x00",
		"both of 2 GiB":          env("GET", "/") + "\xff\xff\xff\xff\xff\xff\xff\xff", // CVE-2025-23016
		"a value of 64 KiB, cut": env("GET", "/") + "\x01\x80\x01\x00\x00A" + strings.Repeat("v", 60000),
	} {
		c.send(begin(1, keep), params(1, pairs), mk(tStdin, 1, ""))
		if a := c.answer(1); a.httpStatus() != "Status: 400 Bad Request" {
			t.Errorf("%s: got %q", name, a.out)
		}
	}
	c.wantOpen()
}

// REQUEST_URI decides where there is one; PathInfo is for applications that do
// not want to know where they are mounted.
func TestMounted(t *testing.T) {
	c := unixWorld.start(t, &fcgi.Server{Handler: fcgi.PathInfo(http.HandlerFunc(path))}).dial()
	for info, want := range map[string]string{"/a/b": "/a/b", "": "/", "x": "/x", "/\n": "/"} {
		c.send(getting(1, keep, "/mount/a/b", "SCRIPT_NAME", "/mount", "PATH_INFO", info))
		a := c.answer(1)
		if info == "/\n" {
			want = "Bad Request\n"
		}
		if a.body() != want {
			t.Errorf("PATH_INFO %q: got %q", info, a.out)
		}
	}
}
