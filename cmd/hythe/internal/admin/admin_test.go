package admin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
)

// get asks a handler as a browser on this machine would.
func get(h http.Handler, path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	return ask(h, "GET", path, change...)
}

func ask(h http.Handler, method, path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Host = "localhost:7070"
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

func certificate(r *http.Request) {
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}
}

func unverified(r *http.Request) {
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}
}

func TestHandler_LetsInWhoMay(t *testing.T) {
	bearer := header("Authorization", "Bearer s3cret")
	basic := func(password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth("anybody", password) }
	}
	open, token, cert := Options{Loopback: true}, Options{Token: "s3cret"}, Options{ClientCert: true}
	both := Options{Token: "s3cret", ClientCert: true, Loopback: true}
	for _, c := range []struct {
		name   string
		o      Options
		change func(*http.Request)
		want   int
	}{
		{"loopback, localhost", open, host("localhost:7070"), 200},
		{"loopback, Localhost.", open, host("Localhost."), 200},
		{"loopback, a name below localhost", open, host("hythe.localhost:1"), 200},
		{"loopback, 127.0.0.1", open, host("127.0.0.1:7070"), 200},
		{"loopback, ::1", open, host("[::1]:7070"), 200},
		{"loopback, ::1 without a port", open, host("[::1]"), 200},
		{"loopback, mapped", open, host("[::ffff:127.0.0.1]:7070"), 200},
		{"loopback, by a name from elsewhere", open, host("evil.example:7070"), 421},
		{"loopback, by a name that looks like it", open, host("localhost.evil.example"), 421},
		{"loopback, by a name that ends like it", open, host("evillocalhost"), 421},
		{"loopback, by an address like it", open, host("127.0.0.1.evil.example"), 421},
		{"loopback, by another address", open, host("192.0.2.1:7070"), 421},
		{"loopback, by nothing", open, host(""), 421},
		{"nothing at all", Options{}, bearer, 403},
		{"nothing at all, with a certificate", Options{}, certificate, 403},
		{"bearer token", token, bearer, 200},
		{"bearer in lower case", token, header("Authorization", "bearer s3cret"), 200},
		{"token as password", token, basic("s3cret"), 200},
		{"no token", token, host("localhost"), 401},
		{"another token", token, header("Authorization", "Bearer s3cre"), 401},
		{"empty token", token, header("Authorization", "Bearer "), 401},
		{"another password", token, basic("no"), 401},
		{"empty password", token, basic(""), 401},
		{"another scheme", token, header("Authorization", "Digest s3cret"), 401},
		{"token alone", token, header("Authorization", "s3cret"), 401},
		{"token from anywhere", token, func(r *http.Request) { r.Host = "relay.example"; bearer(r) }, 200},
		{"certificate", cert, certificate, 200},
		{"no TLS", cert, bearer, 403},
		{"certificate that nobody has verified", cert, unverified, 403},
		{"either: token", both, bearer, 200},
		{"either: certificate", both, certificate, 200},
		{"either: none", both, host("localhost"), 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := Handler(newFake(), c.o)
			for _, path := range []string{"/", "/status.json", "/metrics", "/style.css", "/live.js", "/nothing"} {
				want := c.want
				if path == "/nothing" && want == 200 {
					want = 404
				}
				w := get(h, path, c.change)
				if w.Code != want {
					t.Errorf("%s: %d, want %d", path, w.Code, want)
				}
				if asks := w.Header().Get("WWW-Authenticate") != ""; asks != (want == 401) {
					t.Errorf("%s: WWW-Authenticate is there: %t", path, asks)
				}
				if w.Code != 200 && strings.Contains(w.Body.String(), "store") {
					t.Errorf("%s: says something of the daemon", path)
				}
			}
			want := c.want
			if want == 200 {
				want = 400 // it was let in
			}
			if w := ask(h, "POST", "/requeue", c.change); w.Code != want {
				t.Errorf("POST /requeue: %d, want %d", w.Code, want)
			}
			if w := get(h, "/healthz", c.change); w.Code != 200 {
				t.Errorf("/healthz: %d", w.Code)
			}
			if w := get(h, "/readyz", c.change); w.Code != 200 {
				t.Errorf("/readyz: %d", w.Code)
			}
		})
	}
}

// No browser can be sent to a Unix socket, whatever the Host is.
func TestHandler_UnixSocketNeedsNoHost(t *testing.T) {
	ln, err := net.Listen("unix", t.TempDir()+"/admin.sock")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: Handler(newFake(), Options{Loopback: true})}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	defer func() { srv.Close(); <-served }()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", ln.Addr().String())
	}}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("http://relay.example/status.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
}

func TestHandler_AnswersAreSecured(t *testing.T) {
	h := Handler(newFake(), Options{Loopback: true})
	for _, path := range []string{"/", "/style.css", "/status.json", "/metrics", "/healthz", "/readyz", "/nothing"} {
		got := get(h, path).Header()
		csp := got.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none';") || strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%s: Content-Security-Policy: %s", path, csp)
		}
		if got.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s may be sniffed", path)
		}
		if got.Get("Referrer-Policy") != "same-origin" { // a stricter one takes the Origin from the form
			t.Errorf("%s: Referrer-Policy: %s", path, got.Get("Referrer-Policy"))
		}
	}
	page := get(h, "/").Body.String()
	for _, m := range []string{` style="`, "<style", "javascript:", "http://www", "https://cdn"} {
		if strings.Contains(page, m) {
			t.Errorf("the page has %q", m)
		}
	}
	if regexp.MustCompile(`<script[^>]*>[^<]`).MatchString(page) || regexp.MustCompile(`<[^>]* on[a-z]+=`).MatchString(page) {
		t.Error("the page has a script inside")
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if w := get(h, "/"+m[1]); w.Code != 200 {
			t.Errorf("%s: %d", m[1], w.Code)
		}
	}
}

func TestPage_HasHeadingsCaptionsAndAlternatives(t *testing.T) {
	page := get(Handler(newFake(), Options{Loopback: true}), "/").Body.String()
	level := 0
	for _, m := range regexp.MustCompile(`<h([1-6])`).FindAllStringSubmatch(page, -1) {
		now := int(m[1][0] - '0')
		if now > level+1 {
			t.Errorf("<h%d> follows <h%d>", now, level)
		}
		level = now
	}
	for tag, with := range map[string]string{"<table": "<caption", "<svg": `role="img" aria-label="`, "<figure": "<figcaption"} {
		if a, b := strings.Count(page, tag), strings.Count(page, with); a == 0 || a != b {
			t.Errorf("%d %s, %d %s", a, tag, b, with)
		}
	}
	if n := strings.Count(page, "aria-live"); n != 1 || !strings.Contains(page, `<div id="problems" aria-live="polite">`) {
		t.Errorf("%d regions are live", n)
	}
	ids := regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1)
	seen := make(map[string]bool)
	for _, m := range ids {
		if seen[m[1]] {
			t.Errorf("there are two of id %q", m[1])
		}
		seen[m[1]] = true
	}
	for _, part := range partNames {
		if !seen[part] {
			t.Errorf("nothing has the id of the part %s", part)
		}
	}
	if p, now := strings.Index(page, `id="problems"`), strings.Index(page, `id="tiles"`); p > now {
		t.Error("problems do not come first")
	}
}

// The smallest daemon there is has a page as well.
func TestPage_OfAnEmptyDaemon(t *testing.T) {
	f := newFake().with(func(s *status.Snapshot) { *s = status.Snapshot{Now: s.Now} })
	page := get(Handler(f, Options{Loopback: true}), "/").Body.String()
	for _, want := range []string{"All is well", "There are no inputs", "There are no routes", "no measurements yet", "built-in configuration"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q", want)
		}
	}
	for _, not := range []string{"NaN", "Inf", "%!"} {
		if strings.Contains(page, not) {
			t.Errorf("the page has %q", not)
		}
	}
}

func TestPage_MarkupIsText(t *testing.T) {
	const evil = `<b id=evil onclick="x()">"'</b></script><!--`
	f := newFake().with(func(s *status.Snapshot) { spoil(s, evil) })
	h := Handler(f, Options{Loopback: true})
	page := get(h, "/?requeued=<b>").Body.String()
	if strings.Contains(page, "<b id=evil") || strings.Contains(page, `x()"`) || strings.Contains(page, "<!--") {
		t.Error("markup has come through")
	}
	if n := strings.Count(page, "&lt;b id=evil"); n < 25 {
		t.Errorf("the text is shown %d times", n)
	}
}

// A rate is of the time since the last look, and none is made up before that.
func TestPage_RatesAreMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		messages := uint64(5000)
		f := newFake().with(func(s *status.Snapshot) { s.Inputs[1].Messages = messages })
		b := &board{src: f}
		look := func() string {
			parts, err := b.parts()
			if err != nil {
				t.Fatal(err)
			}
			return parts["inputs"]
		}
		if strings.Contains(look(), "5,000 <small>") {
			t.Error("a rate after one look")
		}
		messages += 300
		time.Sleep(2 * time.Second)
		if got := look(); !strings.Contains(got, "5,300 <small>150/s</small>") {
			t.Errorf("no 150/s in %s", got)
		}
		messages += 7
		b.outdate()
		if got := look(); !strings.Contains(got, "5,307 <small>150/s</small>") {
			t.Errorf("a rate of no time in %s", got)
		}
		messages = 3 // the input was removed and has come back
		time.Sleep(2 * time.Second)
		if got := look(); !strings.Contains(got, "<dd>3</dd>") {
			t.Errorf("a negative rate in %s", got)
		}
		time.Sleep(time.Hour)
		if got := look(); !strings.Contains(got, "<dd>3</dd>") {
			t.Errorf("a rate since an hour in %s", got)
		}
	})
}

func TestPage_ManyWhoLookCostOneSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		h := Handler(f, Options{Loopback: true})
		for range 20 {
			get(h, "/")
		}
		if f.taken != 1 {
			t.Errorf("%d snapshots were taken", f.taken)
		}
		time.Sleep(time.Second)
		get(h, "/")
		if f.taken != 2 {
			t.Errorf("%d snapshots were taken", f.taken)
		}
	})
}

func TestJSON_RoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time stands still
		f := newFake()
		w := get(Handler(f, Options{Loopback: true}), "/status.json")
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Error(got)
		}
		var got status.Snapshot
		dec := json.NewDecoder(w.Body)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&got); err != nil {
			t.Fatal(err)
		}
		want := f.Snapshot()
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		if string(a) != string(b) {
			t.Errorf("got  %s\nwant %s", a, b)
		}
		if !got.Now.Equal(want.Now) || !reflect.DeepEqual(got.Inputs, want.Inputs) || len(got.History) != 300 {
			t.Error("something was lost on the way")
		}
	})
}

func TestReady_SaysWhyNotToThoseWhoMayKnow(t *testing.T) {
	bad := func(s *status.Snapshot) {
		s.Problems = append(s.Problems, status.Problem{Part: "route all", What: "no space left on device", Bad: true})
	}
	draining := func(s *status.Snapshot) { s.Draining = true }
	token := header("Authorization", "Bearer s3cret")
	for _, c := range []struct {
		name   string
		change func(*status.Snapshot)
		ask    func(*http.Request)
		code   int
		body   string
	}{
		{"minor problems", nil, token, 200, "ready\n"},
		{"a bad one", bad, token, 503, "not ready\nroute all: no space left on device\n"},
		{"a bad one, to anybody", bad, host("x"), 503, "not ready\n"},
		{"draining", draining, token, 503, "not ready\ndaemon: draining\n"},
		{"draining, to anybody", draining, host("x"), 503, "not ready\n"},
	} {
		w := get(Handler(newFake().with(c.change), Options{Token: "s3cret"}), "/readyz", c.ask)
		if w.Code != c.code || w.Body.String() != c.body {
			t.Errorf("%s: %d %q", c.name, w.Code, w.Body)
		}
		if w := get(Handler(newFake().with(c.change), Options{Token: "s3cret"}), "/healthz", c.ask); w.Code != 200 {
			t.Errorf("%s: /healthz %d", c.name, w.Code)
		}
	}
}

func TestRequeue(t *testing.T) {
	const path = "/requeue?route=all&output=hook"
	html := header("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	for _, c := range []struct {
		name   string
		method string
		path   string
		change []func(*http.Request)
		code   int
		body   string
	}{
		{"a program", "POST", path, nil, 200, "12 dead letters were requeued.\n"},
		{"a script of the page", "POST", path, []func(*http.Request){header("Sec-Fetch-Site", "same-origin")}, 200, "12 dead letters were requeued.\n"},
		{"the page's form", "POST", path, []func(*http.Request){header("Sec-Fetch-Site", "same-origin"), html}, 303, ""},
		{"an older browser's form", "POST", path, []func(*http.Request){header("Origin", "http://localhost:7070"), html}, 303, ""},
		{"another page", "POST", path, []func(*http.Request){header("Sec-Fetch-Site", "cross-site"), html}, 403, ""},
		{"another port's page", "POST", path, []func(*http.Request){header("Sec-Fetch-Site", "same-site")}, 403, ""},
		{"another page in an older browser", "POST", path, []func(*http.Request){header("Origin", "http://evil.example")}, 403, ""},
		{"a page from nowhere", "POST", path, []func(*http.Request){header("Origin", "null")}, 403, ""},
		{"a link", "GET", path, nil, 405, ""},
		{"no route", "POST", "/requeue?output=hook", nil, 400, ""},
		{"no output", "POST", "/requeue?route=all", nil, 400, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake()
			w := ask(Handler(f, Options{Loopback: true}), c.method, c.path, c.change...)
			if w.Code != c.code || (c.body != "" && w.Body.String() != c.body) {
				t.Errorf("%d %q", w.Code, w.Body)
			}
			if done := slices.Equal(f.calls(), []string{"all hook"}); done != (c.code < 400) {
				t.Errorf("requeued: %v", f.calls())
			}
			if at := w.Header().Get("Location"); c.code == 303 && at != "./?requeued=12" {
				t.Errorf("led to %q", at)
			}
		})
	}
	f := newFake()
	f.fail = errFake
	if w := ask(Handler(f, Options{Loopback: true}), "POST", path); w.Code != 500 || w.Body.String() != errFake.Error()+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Who comes back from the button does not see what was before.
func TestRequeue_PageIsDrawnAnew(t *testing.T) {
	h := Handler(newFake(), Options{Loopback: true})
	if page := get(h, "/").Body.String(); !strings.Contains(page, "Requeue 12") {
		t.Fatal("no button")
	}
	ask(h, "POST", "/requeue?route=all&output=hook")
	page := get(h, "/?requeued=12").Body.String()
	if strings.Contains(page, "Requeue 12") || !strings.Contains(page, `role="status">12 dead letters were requeued.</p>`) {
		t.Error("the page is of the time before")
	}
}
