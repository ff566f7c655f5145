package httpd

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A step is a run of patterns or one regular expression.
type step struct {
	mux *http.ServeMux // patterns, or nil

	method string // "" for every one
	expr   *regexp.Regexp
	entry  *entry
}

// cutExpression takes "[METHOD ]~expression" apart; ok is false for anything
// else.
func cutExpression(pattern string) (method, expr string, ok bool) {
	if i := strings.IndexAny(pattern, " \t"); i > 0 {
		method, pattern = pattern[:i], strings.TrimLeft(pattern[i:], " \t")
	}
	expr, ok = strings.CutPrefix(pattern, "~")
	return method, expr, ok
}

func newExpression(method, expr string, e *entry) (step, error) {
	if _, err := http.NewRequest(method, "/", nil); err != nil {
		return step{}, fmt.Errorf("method %q is not a token", method)
	}
	re, err := regexp.Compile(expr)
	return step{method: method, expr: re, entry: e}, err
}

// serve tries one step after the other.
func (rs *routes) serve(w http.ResponseWriter, r *http.Request) {
	if r.RequestURI == "*" {
		if r.ProtoAtLeast(1, 1) {
			w.Header().Set("Connection", "close")
		}
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if r.Method != http.MethodConnect {
		escaped := r.URL.EscapedPath()
		if clean := cleanPath(escaped); clean != escaped {
			to := url.URL{RawPath: clean, RawQuery: r.URL.RawQuery}
			to.Path, _ = url.PathUnescape(clean) // it was unescaped once before
			http.Redirect(w, r, to.String(), http.StatusTemporaryRedirect)
			return
		}
	}
	for i := range rs.steps {
		if rs.steps[i].serve(w, r) {
			return
		}
	}
	rs.refuse(w, r)
}

// serve answers the request, if the step has a route for it.
func (s *step) serve(w http.ResponseWriter, r *http.Request) bool {
	if s.mux != nil {
		if _, pattern := s.mux.Handler(r); pattern == "" {
			return false
		}
		s.mux.ServeHTTP(w, r) // finds it again, and sets the path values
		return true
	}
	if !s.allows(r.Method) {
		return false
	}
	subject := subject(r)
	groups := s.expr.FindStringSubmatchIndex(subject)
	if groups == nil {
		return false
	}
	r.Pattern = s.entry.Pattern
	for i, name := range s.expr.SubexpNames() {
		if name != "" && groups[2*i] >= 0 {
			r.SetPathValue(name, subject[groups[2*i]:groups[2*i+1]])
		}
	}
	s.entry.ServeHTTP(w, r)
	return true
}

func (s *step) allows(method string) bool {
	return s.method == "" || s.method == method ||
		s.method == http.MethodGet && method == http.MethodHead
}

// subject is what expressions are matched with.
func subject(r *http.Request) string {
	if r.URL.Path == "" {
		return "/"
	}
	return r.URL.Path
}

// refuse answers a request that no route is for.
func (rs *routes) refuse(w http.ResponseWriter, r *http.Request) {
	allowed := make(map[string]bool)
	for _, s := range rs.steps {
		switch {
		case s.mux != nil:
			h, _ := s.mux.Handler(r)
			answer := headerOnly{}
			h.ServeHTTP(answer, r)
			for method := range strings.SplitSeq(http.Header(answer).Get("Allow"), ", ") {
				allowed[method] = true
			}
		case s.expr.MatchString(subject(r)):
			allowed[s.method] = true
			if s.method == http.MethodGet {
				allowed[http.MethodHead] = true
			}
		}
	}
	delete(allowed, "")
	if len(allowed) == 0 {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(allowed)), ", "))
	http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
}

// headerOnly is a ResponseWriter that keeps nothing but the header.
type headerOnly http.Header

func (h headerOnly) Header() http.Header       { return http.Header(h) }
func (headerOnly) Write(p []byte) (int, error) { return len(p), nil }
func (headerOnly) WriteHeader(int)             {}

// cleanPath is the path without dots and double slashes, as ServeMux has it.
func cleanPath(p string) string {
	if p == "" {
		return "/"
	}
	if p[0] != '/' {
		p = "/" + p
	}
	clean := path.Clean(p)
	if p[len(p)-1] == '/' && clean != "/" {
		clean += "/"
	}
	return clean
}
