package fcgi

import (
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// Params returns the parameters of a request as the web server sent them, all
// of them and in that order, a name perhaps twice. There are none if r is not
// this package's.
func Params(r *http.Request) iter.Seq2[string, string] {
	req := requestOf(r.Context())
	if req == nil {
		return func(func(name, value string) bool) {}
	}
	return pairs(req.params.pairs)
}

// Param returns the value of a parameter, such as REMOTE_USER, and "" if there
// is none. If it was sent twice the last one counts.
func Param(r *http.Request, name string) (value string) {
	for n, v := range Params(r) {
		if n == name {
			value = v
		}
	}
	return value
}

// ProcessEnv returns the parameters of a request, fit to be the environment of
// a process: all but HTTP_PROXY, which many programs would take for their
// operator's word (httpoxy.org). net/http/fcgi's leaves out what the
// http.Request tells as well; this one does not.
func ProcessEnv(r *http.Request) map[string]string {
	env := maps.Collect(Params(r))
	delete(env, "HTTP_PROXY")
	return env
}

// PathInfo has h see as the URL's path what the web server calls PATH_INFO: the
// part behind the place where it has mounted the application, which it calls
// SCRIPT_NAME. Requests without that part have the path "/". Use it where the
// web server splits the path and the application should not know where it is
// mounted.
func PathInfo(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r2 := new(http.Request)
		*r2 = *r
		r2.URL = new(url.URL)
		*r2.URL = *r.URL
		r2.URL.Path, r2.URL.RawPath = Param(r, "PATH_INFO"), ""
		if !strings.HasPrefix(r2.URL.Path, "/") {
			r2.URL.Path = "/" + r2.URL.Path
		}
		h.ServeHTTP(w, r2)
	})
}
