package middleware_test

import (
	"crypto/tls"
	"net/http"
	"slices"
	"testing"

	"github.com/hythe-go/hythe/httpd/middleware"
)

func TestDefaultHeaders(t *testing.T) {
	def := http.Header{"x-frame-options": {"DENY"}, "Server": {"hythe"}, "Link": {"<a>"}}
	h := middleware.DefaultHeaders(def)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "other")
		w.Header().Add("Link", "<b>")
	}))
	def.Set("Server", "changed later")
	for range 2 {
		w, _ := run(h, request("GET", "/"))
		if got := w.Header(); got.Get("X-Frame-Options") != "DENY" || got.Get("Server") != "other" || !slices.Equal(got["Link"], []string{"<a>", "<b>"}) {
			t.Errorf("got %v", got)
		}
	}
}

func TestCanonicalHost(t *testing.T) {
	h := middleware.CanonicalHost("example.com")(write("here"))
	for _, test := range []struct {
		method, uri, host string
		tls               bool
		want              string
	}{
		{"GET", "/", "example.com", false, ""},
		{"GET", "/", "Example.COM", false, ""},
		{"GET", "/a%2Fb?c=d", "www.example.com", false, "http://example.com/a%2Fb?c=d"},
		{"POST", "/", "example.com:8080", true, "https://example.com/"},
		{"GET", "//evil.example/x", "other", false, "http://example.com//evil.example/x"},
		{"GET", "/", "evil\r\nx: y", false, "http://example.com/"},
		{"GET", "/", "", false, ""},
		{"CONNECT", "/x", "other", false, ""},
	} {
		r := request(test.method, "http://ignored"+test.uri)
		r.RequestURI, r.Host = test.uri, test.host
		r.URL.Host, r.URL.Scheme = "", ""
		if test.tls {
			r.TLS = new(tls.ConnectionState)
		}
		w, _ := run(h, r)
		if got := w.Header().Get("Location"); got != test.want || (got != "") != (w.Code == 308) {
			t.Errorf("%s %s of %q: %d to %q, want %q", test.method, test.uri, test.host, w.Code, got, test.want)
		}
	}
}
