package middleware

import (
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// DefaultHeaders sets headers of every answer, which handlers may change or
// delete. Later changes to h are not seen.
func DefaultHeaders(h http.Header) func(http.Handler) http.Handler {
	set := make(http.Header, len(h))
	for name, values := range h {
		// Clipped, so that a handler which adds a value gets a slice of its own.
		set[textproto.CanonicalMIMEHeaderKey(name)] = slices.Clip(slices.Clone(values))
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			maps.Copy(w.Header(), set)
			next.ServeHTTP(w, r)
		})
	}
}

// CanonicalHost sends clients that came by another name to host, such as
// "example.com" or "example.com:8443", with a permanent redirection (308, which
// keeps method and body) to the same path and with the same scheme. Requests
// without a Host, in the form of a proxy's or for "*" are let pass.
func CanonicalHost(host string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "" || strings.EqualFold(r.Host, host) || !strings.HasPrefix(r.RequestURI, "/") || r.Method == http.MethodConnect {
				next.ServeHTTP(w, r)
				return
			}
			to := *r.URL
			to.Host, to.Scheme = host, "http"
			if r.TLS != nil {
				to.Scheme = "https"
			}
			http.Redirect(w, r, to.String(), http.StatusPermanentRedirect)
		})
	}
}
