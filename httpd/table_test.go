package httpd_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hythe-go/hythe/httpd"
)

// says answers with a name, the pattern and the path values asked for.
func says(name string, values ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, name)
		for _, v := range values {
			fmt.Fprintf(w, " %s=%s", v, r.PathValue(v))
		}
	})
}

func route(pattern string, values ...string) httpd.Route {
	return httpd.Route{Name: pattern, Pattern: pattern, Handler: says(pattern, values...)}
}

func newTable(t testing.TB, list ...httpd.Route) *httpd.Table {
	t.Helper()
	table, err := httpd.NewTable(list...)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// ask sends a request head to a handler, without a server in between.
func ask(h http.Handler, method, target, host string) *http.Response {
	r := &http.Request{
		Method: method, RequestURI: target, Host: host, Header: http.Header{},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, URL: &url.URL{},
	}
	if method == http.MethodConnect && !strings.HasPrefix(target, "/") {
		r.URL.Host, r.Host = target, target // as net/http has it
	} else if target != "*" {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			panic(err)
		}
		r.URL = u
		if u.Host != "" {
			r.Host = u.Host
		}
	} else {
		r.URL.Path = "*"
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// answer is what matters of an answer, in one line.
func answer(resp *http.Response) string {
	body, _ := io.ReadAll(resp.Body)
	s := fmt.Sprint(resp.StatusCode)
	for _, name := range []string{"Allow", "Location", "Connection"} {
		if v := resp.Header.Get(name); v != "" {
			s += " " + name + ": " + v
		}
	}
	if resp.StatusCode == http.StatusOK {
		s += " " + string(body)
	}
	return s
}

func TestTable(t *testing.T) {
	table := newTable(t,
		route("GET /items/{id}", "id"),
		route("POST /items/{id}", "id"),
		route("/tree/"),
		route("example.com/"),
		route("GET /files/{rest...}", "rest"),
		route(`~^/user/(?P<name>[a-z]+)(/(?P<tail>.*))?$`, "name", "tail"),
		route("PUT ~^/put/"),
		route("GET ~^/put/only"),
		route("/put/{x}/late"),
		route("GET /late"),
		route("CONNECT ~^/$"),
	)
	for _, test := range []struct{ method, target, host, want string }{
		{"GET", "/items/7", "a", "200 GET /items/{id} id=7"},
		{"GET", "/items/a%2Fb", "a", "200 GET /items/{id} id=a/b"},
		{"HEAD", "/items/7", "a", "200 GET /items/{id} id=7"}, // the server drops the body
		{"POST", "/items/7", "a", "200 POST /items/{id} id=7"},
		{"PUT", "/items/7", "a", "405 Allow: GET, HEAD, POST"},
		{"get", "/items/7", "a", "405 Allow: GET, HEAD, POST"}, // methods are case-sensitive
		{"OPTIONS", "/items/7", "a", "405 Allow: GET, HEAD, POST"},
		{"GET", "/items/", "a", "404"},
		{"GET", "/nothing", "a", "404"},
		{"GET", "/nothing", "example.com", "200 example.com/"},
		{"GET", "/nothing", "example.com:8080", "200 example.com/"},
		{"GET", "http://example.com/nothing", "a", "200 example.com/"}, // RFC 9112, 3.2.2
		{"GET", "/tree/x", "a", "200 /tree/"},
		{"GET", "/tree", "a", "307 Location: /tree/"},
		{"GET", "/tree?q=1", "a", "307 Location: /tree/?q=1"},
		{"GET", "/a//b?q", "a", "307 Location: /a/b?q"},
		{"GET", "//other.example/x", "a", "307 Location: /other.example/x"},
		{"GET", "/user/../put/", "a", "307 Location: /put/"},
		{"GET", "/%2F//x", "a", "307 Location: /%2F/x"},
		{"GET", "/files/a/b", "a", "200 GET /files/{rest...} rest=a/b"},
		{"GET", "/user/ann", "a", "200 ~^/user/(?P<name>[a-z]+)(/(?P<tail>.*))?$ name=ann tail="},
		{"GET", "/user/ann/x/y", "a", "200 ~^/user/(?P<name>[a-z]+)(/(?P<tail>.*))?$ name=ann tail=x/y"},
		{"GET", "/user/Ann", "a", "404"},
		{"PUT", "/put/x", "a", "200 PUT ~^/put/"},
		{"HEAD", "/put/only", "a", "200 GET ~^/put/only"},
		{"GET", "/put/x", "a", "405 Allow: PUT"},
		{"GET", "/put/x/late", "a", "200 /put/{x}/late"},
		{"DELETE", "/put/only", "a", "405 Allow: GET, HEAD, PUT"},
		{"DELETE", "/late", "a", "405 Allow: GET, HEAD"}, // of a step behind an expression
		{"CONNECT", "other.example:443", "a", "200 CONNECT ~^/$"},
		{"OPTIONS", "*", "a", "400 Connection: close"},
	} {
		t.Run(test.method+" "+test.target, func(t *testing.T) {
			if got := answer(ask(table, test.method, test.target, test.host)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestTable_FirstMatchWins(t *testing.T) {
	list := []httpd.Route{route("~^/a"), route("/a/b"), route("~.")}
	table := newTable(t, list...)
	if got := answer(ask(table, "GET", "/a/b", "a")); got != "200 ~^/a" {
		t.Errorf("got %s, want the first", got)
	}
	slices.Reverse(list)
	if _, err := table.Swap(list[1:]); err != nil {
		t.Fatal(err)
	}
	if got := answer(ask(table, "GET", "/a/b", "a")); got != "200 /a/b" {
		t.Errorf("after the list was turned over: got %s, want the first", got)
	}
}

func TestTable_Zero(t *testing.T) {
	var table httpd.Table
	if got := answer(ask(&table, "GET", "/", "a")); got != "404" {
		t.Errorf("the zero Table answers %s", got)
	}
	if got := table.Routes(); len(got) != 0 {
		t.Errorf("the zero Table has %v", got)
	}
	if err := table.Edit(func(list []httpd.Route) ([]httpd.Route, error) { return append(list, route("/")), nil }); err != nil {
		t.Fatal(err)
	}
	if got := answer(ask(&table, "GET", "/", "a")); got != "200 /" {
		t.Errorf("after Edit it answers %s", got)
	}
	if old, err := table.Swap(nil); err != nil || len(old) != 1 || old[0].Name != "/" {
		t.Errorf("Swap(nil) = %v, %v", old, err)
	}
	if got := answer(ask(&table, "GET", "/", "a")); got != "404" {
		t.Errorf("the empty Table answers %s", got)
	}
}

func TestTable_SwapIsAllOrNothing(t *testing.T) {
	table := newTable(t, route("/old"))
	_, err := table.Swap([]httpd.Route{
		route("/new"),
		{Name: "nobody", Pattern: "/nil"},
		{Pattern: "/nilfunc", Handler: http.HandlerFunc(nil)},
		route("~("),
		route("B@D ~."),
		route("/{x"),
		route("/{a}/b"),
		route("/b/{c}"), // conflicts with the one before
		route(""),
	})
	if err == nil {
		t.Fatal("a bad list was taken")
	}
	for _, want := range []string{`1, "/nil"`, `2, "/nilfunc"`, `3, "~("`, `4, "B@D ~."`, `5, "/{x"`, `7, "/b/{c}"`, `8, ""`} {
		if !strings.Contains(err.Error(), "route "+want) {
			t.Errorf("nothing is said of route %s", want)
		}
	}
	if strings.Contains(err.Error(), "table.go") {
		t.Errorf("the error names a line that is not the user's:\n%v", err)
	}
	if n := strings.Count(err.Error(), "httpd: route"); n != 7 {
		t.Errorf("%d routes were found bad, want 7:\n%v", n, err)
	}
	if got := answer(ask(table, "GET", "/old", "a")); got != "200 /old" {
		t.Errorf("after a refused Swap the old route answers %s", got)
	}
	if got := answer(ask(table, "GET", "/new", "a")); got != "404" {
		t.Errorf("after a refused Swap the new route answers %s", got)
	}
	if _, err := httpd.NewTable(route("~(")); err == nil {
		t.Error("NewTable took a bad list")
	}
}

func TestTable_RoutesIsACopy(t *testing.T) {
	given := []httpd.Route{route("/a"), route("~^/b")}
	table := newTable(t, given...)
	given[0] = route("/changed")
	got := table.Routes()
	got[1] = route("/changed")
	old, err := table.Swap(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"/a", "~^/b"} {
		if old[i].Pattern != want {
			t.Errorf("route %d is %q, want %q", i, old[i].Pattern, want)
		}
	}
}

func TestTable_Edit(t *testing.T) {
	table := newTable(t, route("/a"), route("/b"))
	cause := errors.New("no")
	if err := table.Edit(func(list []httpd.Route) ([]httpd.Route, error) { return nil, cause }); err != cause {
		t.Errorf("Edit = %v, want the function's error", err)
	}
	if err := table.Edit(func(list []httpd.Route) ([]httpd.Route, error) { return append(list, route("~(")), nil }); err == nil {
		t.Error("Edit took a bad list")
	}
	if n := len(table.Routes()); n != 2 {
		t.Fatalf("after refused edits there are %d routes, want 2", n)
	}

	// Somebody changes the table while an edit runs: it is done again.
	calls := 0
	err := table.Edit(func(list []httpd.Route) ([]httpd.Route, error) {
		if calls++; calls == 1 {
			if _, err := table.Swap([]httpd.Route{route("/c")}); err != nil {
				t.Error(err)
			}
		}
		return append(list, route("/d")), nil
	})
	if got := table.Routes(); err != nil || calls != 2 || len(got) != 2 || got[0].Name != "/c" || got[1].Name != "/d" {
		t.Errorf("got %v after %d calls, %v; want /c and /d after 2", got, calls, err)
	}
}

func TestTable_EditsOfManyAreAllKept(t *testing.T) {
	var table httpd.Table
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 20 {
				err := table.Edit(func(list []httpd.Route) ([]httpd.Route, error) {
					return append(list, route(fmt.Sprintf("/%d/%d", i, j))), nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := len(table.Routes()); n != 160 {
		t.Errorf("there are %d routes, want 160", n)
	}
}

func TestRouteOf(t *testing.T) {
	var inside httpd.Route
	var ok bool
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { inside, ok = httpd.RouteOf(r) })
	for _, list := range [][]httpd.Route{
		{{Name: "item", Pattern: "GET /items/{id}", Handler: h}},
		{{Name: "item", Pattern: "~^/items/", Handler: h}},
	} {
		table := newTable(t, list...)
		inside, ok = httpd.Route{}, false
		r := httptest.NewRequest("GET", "/items/7", nil)
		if _, ok := httpd.RouteOf(r); ok {
			t.Error("a request has a route before the table has seen it")
		}
		table.ServeHTTP(httptest.NewRecorder(), r)
		if !ok || inside.Name != "item" {
			t.Errorf("inside, the route is %v, %v", inside, ok)
		}
		if got, ok := httpd.RouteOf(r); !ok || got.Name != "item" || got.Pattern != list[0].Pattern {
			t.Errorf("outside, the route is %v, %v", got, ok)
		}
		if r.Pattern != list[0].Pattern {
			t.Errorf("Request.Pattern is %q", r.Pattern)
		}
		r = httptest.NewRequest("GET", "/other", nil)
		table.ServeHTTP(httptest.NewRecorder(), r)
		if got, ok := httpd.RouteOf(r); ok {
			t.Errorf("a request that nobody answers has the route %v", got)
		}
	}
}

// The route is the one that the request was served by, whatever the table is now.
func TestRouteOf_AfterSwap(t *testing.T) {
	table := new(httpd.Table)
	swap := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := table.Swap([]httpd.Route{{Name: "new", Pattern: "/", Handler: http.NotFoundHandler()}}); err != nil {
			t.Error(err)
		}
	})
	if _, err := table.Swap([]httpd.Route{{Name: "old", Pattern: "/", Handler: swap}}); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	table.ServeHTTP(httptest.NewRecorder(), r)
	if got, _ := httpd.RouteOf(r); got.Name != "old" {
		t.Errorf("the route is %q, want the one that served", got.Name)
	}
}

// No request sees a mix: in each version of the table both routes say the same
// number, and the second one is asked from within the first.
func TestTable_SwapWhileServing(t *testing.T) {
	var table httpd.Table
	version := func(n int) []httpd.Route {
		return []httpd.Route{
			{Name: fmt.Sprint(n), Pattern: "~^/nothing$", Handler: http.NotFoundHandler()},
			{Name: fmt.Sprint(n), Pattern: "/{x}", Handler: says(fmt.Sprint(n))},
		}
	}
	if _, err := table.Swap(version(0)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				r := httptest.NewRequest("GET", "/x", nil)
				w := httptest.NewRecorder()
				table.ServeHTTP(w, r)
				if got, ok := httpd.RouteOf(r); !ok || got.Name != w.Body.String() {
					t.Errorf("route %q answered %q", got.Name, w.Body)
				}
			}
		})
	}
	for i := range 500 {
		if _, err := table.Swap(version(i + 1)); err != nil {
			t.Error(err)
		}
	}
	close(done)
	askers.Wait()
}

func BenchmarkTable(b *testing.B) {
	patterns := []string{"GET /{$}", "GET /items/{id}", "POST /items/{id}", "/static/", "GET /a/b/c", "example.com/"}
	h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	mux := http.NewServeMux()
	var list []httpd.Route
	for _, p := range patterns {
		mux.Handle(p, h)
		list = append(list, httpd.Route{Pattern: p, Handler: h})
	}
	mixed := append([]httpd.Route{{Pattern: "~^/no(thing|body)", Handler: h}}, list...)
	for _, target := range []string{"/a/b/c", "/items/7"} {
		for name, h := range map[string]http.Handler{"mux": mux, "table": newTable(b, list...), "mixed": newTable(b, mixed...)} {
			b.Run(target+"/"+name, func(b *testing.B) {
				r := httptest.NewRequest("GET", target, nil)
				w := headerWriter{}
				b.ReportAllocs()
				for b.Loop() {
					h.ServeHTTP(w, r)
				}
			})
		}
	}
}

// headerWriter is a ResponseWriter that keeps nothing but the header.
type headerWriter http.Header

func (h headerWriter) Header() http.Header       { return http.Header(h) }
func (headerWriter) Write(p []byte) (int, error) { return len(p), nil }
func (headerWriter) WriteHeader(int)             {}

// A table of patterns allocates nothing that ServeMux does not.
func TestTable_AllocatesNothing(t *testing.T) {
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { httpd.RouteOf(r) })
	for _, test := range []struct{ pattern, path string }{{"GET /a/b", "/a/b"}, {"GET /a/{x}", "/a/b"}} {
		mux := http.NewServeMux()
		mux.Handle(test.pattern, h)
		table := newTable(t, httpd.Route{Name: "n", Pattern: test.pattern, Handler: h})
		r := httptest.NewRequest("GET", test.path, nil)
		w := headerWriter{}
		want := testing.AllocsPerRun(100, func() { mux.ServeHTTP(w, r) })
		if got := testing.AllocsPerRun(100, func() { table.ServeHTTP(w, r) }); got != want {
			t.Errorf("%s: %v allocations a request, ServeMux has %v", test.pattern, got, want)
		}
	}
}
