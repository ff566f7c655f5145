package httpd_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/httpd"
)

// oneMatches says whether one pattern, "[METHOD ][HOST]/path", matches: written
// anew, without ServeMux, for paths that are clean and have no escapes.
func oneMatches(pattern, method, host, path string) (pathMatches, all bool) {
	m, rest, found := strings.Cut(pattern, " ")
	if !found {
		m, rest = "", pattern
	}
	slash := strings.IndexByte(rest, '/')
	if h := rest[:slash]; h != "" && h != host {
		return false, false
	}
	want, got := strings.Split(rest[slash+1:], "/"), strings.Split(path[1:], "/")
	for i, w := range want {
		last := i == len(want)-1
		switch {
		case last && (w == "" || strings.HasSuffix(w, "...}")):
			pathMatches = len(got) > i
			got = got[:min(len(got), i+1)]
		case w == "{$}":
			pathMatches = len(got) > i && got[i] == ""
		case i >= len(got):
			return false, false
		case strings.HasPrefix(w, "{"):
			pathMatches = got[i] != ""
		default:
			pathMatches = got[i] == w
		}
		if !pathMatches {
			return false, false
		}
	}
	pathMatches = len(got) == len(want)
	return pathMatches, pathMatches && (m == "" || m == method || m == "GET" && method == "HEAD")
}

// With an expression that never matches between any two patterns, the table is a
// plain ordered list: its first match, by a matcher of ours, is the answer.
func TestTable_OrderedModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	methods := []string{"GET", "POST", "HEAD", "PUT"}
	served := make(map[int]int)
	for range 3000 {
		var list []httpd.Route
		for range 1 + rnd.IntN(5) {
			p := pick("", "", "GET ", "POST ") + pick("", "", "h") + "/"
			for i := range rnd.IntN(3) {
				p += pick("a", "b", fmt.Sprintf("{x%d}", i)) + "/"
			}
			p += pick("", "a", "{$}", "{y...}", "{z}")
			list = append(list, route(p), route("~^$never"))
		}
		table := newTable(t, list...)
		path := "/"
		for range rnd.IntN(4) {
			path += pick("a", "b", "c") + "/"
		}
		path += pick("", "", "a")
		method, host := pick(methods...), pick("h", "i")

		want, slash, allowed := "", false, false
		for _, r := range list {
			if strings.HasPrefix(r.Pattern, "~") {
				continue
			}
			on, all := oneMatches(r.Pattern, method, host, path)
			exact := all && !(strings.HasSuffix(r.Pattern, "/") || strings.HasSuffix(r.Pattern, "...}")) ||
				all && strings.HasSuffix(path, "/")
			if !strings.HasSuffix(path, "/") && !exact { // "/tree" goes to "/tree/"
				p := r.Pattern
				if _, all := oneMatches(p, method, host, path+"/"); all &&
					strings.Count(path, "/")+1 == strings.Count(p, "/") {
					slash = true
					break
				}
			}
			if all {
				want = r.Pattern
				break
			}
			allowed = allowed || on
			if onSlash, _ := oneMatches(r.Pattern, method, host, path+"/"); onSlash && !strings.HasSuffix(path, "/") {
				allowed = true
			}
		}
		resp := ask(table, method, path, host)
		code := http.StatusNotFound
		switch {
		case slash:
			code = http.StatusTemporaryRedirect
		case want != "":
			code = http.StatusOK
		case allowed:
			code = http.StatusMethodNotAllowed
		}
		served[code]++
		if got := answer(resp); resp.StatusCode != code || code == 200 && got != "200 "+want {
			t.Fatalf("%s %s of %s with %v: got %s, want %d %s", method, path, host, list, got, code, want)
		}
	}
	for _, code := range []int{200, 307, 404, 405} {
		if served[code] < 50 {
			t.Errorf("only %d of the answers were %d: the model is not asked for them", served[code], code)
		}
	}
}

// A table without expressions is a ServeMux, and one with an expression that
// never matches answers as a ServeMux does.
func FuzzTable(f *testing.F) {
	f.Add("GET /a/{x}\n/b/\nh.example/", "GET", "/a/b", "h.example")
	f.Add("/a/\nPOST /a/{$}", "PUT", "/a", "")
	f.Add("~^/a(?P<x>.*)\n/", "GET", "/a//../%2e%2E/b", "")
	f.Add("/{x...}", "CONNECT", "/a//b", "x:1")
	f.Add("GET ~.*", "OPTIONS", "/%2F/%00", "")
	f.Add("/", "GET", "//evil.example/..", "")
	f.Fuzz(func(t *testing.T, lines, method, target, host string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") || method == "" || strings.ContainsAny(method, " \r\n") {
			t.Skip("not a request that net/http would hand on")
		}
		var list []httpd.Route
		mux := http.NewServeMux()
		plain, ok := true, true
		for line := range strings.Lines(lines) {
			p := strings.TrimSuffix(line, "\n")
			list = append(list, route(p))
			if strings.Contains(p, "~") {
				plain = false
				continue
			}
			func() {
				defer func() {
					if recover() != nil {
						ok = false
					}
				}()
				mux.Handle(p, says(p))
			}()
		}
		table, err := httpd.NewTable(list...)
		if plain && (err == nil) != ok {
			t.Fatalf("NewTable says %v, ServeMux takes it: %v", err, ok)
		}
		if err != nil {
			return
		}
		resp := ask(table, method, target, host)
		if at := resp.Header.Get("Location"); at != "" && (at[0] != '/' || strings.HasPrefix(at, "//") || strings.HasPrefix(at, `/\`)) {
			t.Errorf("a redirection to somewhere else: %q", at)
		}
		if !plain {
			return
		}
		want := answer(ask(mux, method, target, host))
		if got := answer(resp); got != want {
			t.Errorf("got  %s\nmux: %s", got, want)
		}
		if len(list) == 0 || u.Path == "" {
			return
		}
		// ServeMux escapes once too often where it redirects to a clean path.
		mixed := ask(newTable(t, append(list, route("~^$never"))...), method, target, host)
		if got := answer(mixed); got != want && !(mixed.StatusCode == 307 && strings.HasPrefix(want, "307")) {
			t.Errorf("with an expression: got  %s\nmux: %s", got, want)
		}
	})
}
