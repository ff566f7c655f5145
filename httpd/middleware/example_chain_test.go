package middleware_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/hythe-go/hythe/httpd/middleware"
)

// The order of the outermost pieces: the log has the client's address and the
// request's ID, and says 500 where Recover answered.
func Example() {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") })
	mux.HandleFunc("/broken", func(http.ResponseWriter, *http.Request) { panic("oh no") })

	realIP := middleware.RealIP{Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	requestID := middleware.RequestID(nil)
	log := middleware.AccessLog(func(e *middleware.Entry) {
		fmt.Println(e.Request.RemoteAddr, e.Request.URL, e.Status, len(e.Request.Header.Get("X-Request-Id")))
	})
	recover := middleware.Recover(nil)
	h := realIP.Wrap(requestID(log(recover(middleware.Compress{}.Wrap(mux)))))

	for _, path := range []string{"/", "/broken"} {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	// Output:
	// 203.0.113.9:0 / 200 26
	// 203.0.113.9:0 /broken 500 26
}

func ExampleCanonicalHost() {
	h := middleware.CanonicalHost("www.example.com")(http.NotFoundHandler())
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/page?n=2", nil)) // of example.com)
	fmt.Println(w.Code, w.Header().Get("Location"))
	// Output: 308 http://www.example.com/page?n=2
}

func ExampleDefaultHeaders() {
	h := middleware.DefaultHeaders(http.Header{
		"X-Content-Type-Options": {"nosniff"},
		"Cache-Control":          {"no-store"},
	})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60") // knows better
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	fmt.Println(w.Header().Get("X-Content-Type-Options"), w.Header().Get("Cache-Control"))
	// Output: nosniff max-age=60
}
