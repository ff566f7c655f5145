package middleware_test

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"testing/fstest"

	"github.com/hythe-go/hythe/httpd/middleware"
)

// Static files need nothing but net/http; here with an access log, whose times
// are left out to have the same output every time.
func ExampleAccessLog() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == "time" || a.Key == "duration" {
				return slog.Attr{}
			}
			return a
		},
	}))
	files := http.FileServerFS(fstest.MapFS{"hello.txt": {Data: []byte("hello\n")}})
	h := middleware.AccessLog(middleware.Slog(log))(files)

	for _, path := range []string{"/hello.txt", "/missing"} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
	}
	// Output:
	// level=INFO msg=request method=GET uri=/hello.txt proto=HTTP/1.1 host=example.com remote=192.0.2.1:1234 status=200 bytes=6
	// level=INFO msg=request method=GET uri=/missing proto=HTTP/1.1 host=example.com remote=192.0.2.1:1234 status=404 bytes=19
}

// Passwords are kept as hashes that are slow to guess from, and an unknown name
// takes as long as a wrong password.
func ExampleBasicAuth() {
	hash := func(password string) []byte {
		sum, err := pbkdf2.Key(sha256.New, password, []byte("a salt of one's own"), 1000, 32)
		if err != nil {
			panic(err)
		}
		return sum
	}
	users := map[string][]byte{"ann": hash("secret")}
	auth := middleware.BasicAuth{
		Realm: "example",
		Check: func(_ context.Context, user, password string) bool {
			want, known := users[user]
			if !known {
				want = make([]byte, 32)
			}
			return subtle.ConstantTimeCompare(hash(password), want) == 1 && known
		},
		FailDelay: -1, // not in an example
	}
	h := auth.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _, _ := r.BasicAuth()
		fmt.Fprintln(w, "hello,", user)
	}))

	for _, password := range []string{"guess", "secret"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.SetBasicAuth("ann", password)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 401 Unauthorized
	// 200 hello, ann
}

func ExampleRealIP() {
	behindProxy := middleware.RealIP{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	h := behindProxy.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.RemoteAddr)
	}))

	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "10.0.0.1:4711"
	r.Header.Set("X-Forwarded-For", "1.1.1.1, 192.0.2.7, 10.0.0.2") // the first is the client's own invention
	h.ServeHTTP(httptest.NewRecorder(), r)
	// Output:
	// 192.0.2.7:0
}

func ExampleRecover() {
	h := middleware.Recover(func(r *http.Request, value any, _ []byte) {
		fmt.Println(r.URL, "panicked:", value)
	})(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oh no") }))

	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/page", nil))
	fmt.Println(w.Code)
	// Output:
	// /page panicked: oh no
	// 500
}

func ExampleCompress() {
	h := middleware.Compress{MinSize: 100}.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for range 100 {
			fmt.Fprintln(w, "the same line again")
		}
	}))

	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Header().Get("Content-Encoding"), w.Header().Get("Vary"), w.Body.Len() < 100)
	// Output:
	// gzip Accept-Encoding true
}

// The proxy lets only our own network use it, and reaches public addresses only.
func ExampleProxy() {
	ours := netip.MustParsePrefix("10.0.0.0/8")
	proxy := middleware.Proxy{Access: func(r *http.Request) bool {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		return err == nil && ours.Contains(peer.Addr())
	}}
	h := proxy.Wrap(http.NotFoundHandler())

	for _, peer := range []string{"192.0.2.1:1", "10.0.0.1:1"} {
		r := httptest.NewRequest("GET", "http://127.0.0.1/admin", nil)
		r.RemoteAddr = peer
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		fmt.Println(peer, w.Code)
	}
	// Output:
	// 192.0.2.1:1 403
	// 10.0.0.1:1 403
}
