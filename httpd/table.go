package httpd

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sync/atomic"
)

// A Route is one line of a Table: what it matches, and who answers.
type Route struct {
	// Name is for people and logs; the table makes no use of it.
	Name string

	// Pattern is a pattern of [http.ServeMux], such as
	// "GET example.com/items/{id}", or a regular expression behind a tilde, such
	// as "~^/items/(?P<id>[0-9]+)$". A method may stand before the tilde as well,
	// with a space between; GET is also for HEAD.
	//
	// An expression is looked for anywhere in the decoded path, Request.URL.Path
	// or "/" if that is empty; anchor it if it is to match all of it. What its
	// named groups match are the path values.
	Pattern string

	// Handler answers. It must not be nil.
	Handler http.Handler
}

// A Table is an http.Handler that passes each request to the first of its routes
// that matches. Patterns that follow each other in the table are one step, in
// which the most specific one wins and two that conflict are an error, as in
// [http.ServeMux]; a table that has no regular expressions is nothing but a
// ServeMux. It redirects as ServeMux does, and before any route is looked at: a
// path with dots or double slashes, to the clean one; "/tree", to "/tree/" if
// only that is there.
//
// A request that no route matches is answered 404, or 405 with Allow if routes
// for other methods match it.
//
// The routes may be changed at any time. A request is served wholly by the
// routes there were when it came. The zero Table has no routes. All methods are
// safe for concurrent use.
type Table struct {
	now atomic.Pointer[routes]
}

// NewTable returns a table of routes, or an error as Swap does.
func NewTable(list ...Route) (*Table, error) {
	t := new(Table)
	if _, err := t.Swap(list); err != nil {
		return nil, err
	}
	return t, nil
}

// Routes returns a copy of the routes, in order.
func (t *Table) Routes() []Route { return t.now.Load().copy() }

// Swap replaces all routes and returns those there were. If the new ones cannot
// be used, nothing is changed, and the error joins what is wrong with each.
func (t *Table) Swap(list []Route) (old []Route, err error) {
	next, err := compile(list)
	if err != nil {
		return nil, err
	}
	return t.now.Swap(next).copy(), nil
}

// Edit replaces the routes by what f makes of a copy of them. An error of f's,
// or one as Swap has, changes nothing and is returned. If the routes were
// changed while f ran, f is called again with the new ones: it should do nothing
// else than edit.
func (t *Table) Edit(f func([]Route) ([]Route, error)) error {
	for {
		now := t.now.Load()
		list, err := f(now.copy())
		if err != nil {
			return err
		}
		next, err := compile(list)
		if err != nil {
			return err
		}
		if t.now.CompareAndSwap(now, next) {
			return nil
		}
	}
}

// ServeHTTP answers the request by the first route that matches.
func (t *Table) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := t.now.Load()
	switch {
	case now == nil:
		http.NotFound(w, r)
	case now.mux != nil:
		now.mux.ServeHTTP(w, r)
	default:
		now.serve(w, r)
	}
}

// RouteOf returns the route that a Table has chosen for a request. The handler
// may ask, and so may whatever passed the request to the table, once that has
// returned, if nothing in between gave the handler another *http.Request in its
// place. There is no route if none matched, or the answer was a redirection.
//
// Request.Pattern is the route's pattern, too.
func RouteOf(r *http.Request) (Route, bool) {
	if r.Response != nil {
		if chosen, ok := r.Response.Body.(*entry); ok {
			return chosen.Route, true
		}
	}
	return Route{}, false
}

// An entry is a route in use. It leaves itself with the request, for RouteOf, in
// a field that is for clients only: a context would cost two allocations for
// every request.
type entry struct {
	Route
	mark http.Response // its Body is the entry
}

func (e *entry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Response = &e.mark
	e.Handler.ServeHTTP(w, r)
}

// Read and Close make an entry a body, which nobody reads.
func (*entry) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }
func (*entry) Close() error             { return nil }

// routes are compiled routes. They do not change.
type routes struct {
	list  []Route
	mux   *http.ServeMux // all of them, if all are patterns
	steps []step         // otherwise
}

func (rs *routes) copy() []Route {
	if rs == nil {
		return nil
	}
	return slices.Clone(rs.list)
}

// compile makes routes ready for use. What is wrong is said of each.
func compile(list []Route) (*routes, error) {
	rs := &routes{list: slices.Clone(list)}
	var errs []error
	for i, route := range rs.list {
		if err := rs.add(route); err != nil {
			errs = append(errs, fmt.Errorf("httpd: route %d, %q: %w", i, route.Pattern, err))
		}
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	switch {
	case len(rs.steps) == 0:
		rs.mux = http.NewServeMux()
	case len(rs.steps) == 1:
		rs.mux = rs.steps[0].mux
	}
	return rs, nil
}

// add adds a route to the last step, or a step of its own.
func (rs *routes) add(route Route) error {
	if f, ok := route.Handler.(http.HandlerFunc); route.Handler == nil || ok && f == nil {
		return errors.New("the handler is nil")
	}
	e := &entry{Route: route}
	e.mark.Body = e
	method, expr, ok := cutExpression(route.Pattern)
	if ok {
		s, err := newExpression(method, expr, e)
		if err == nil {
			rs.steps = append(rs.steps, s)
		}
		return err
	}
	if n := len(rs.steps); n == 0 || rs.steps[n-1].mux == nil {
		rs.steps = append(rs.steps, step{mux: http.NewServeMux()})
	}
	return register(rs.steps[len(rs.steps)-1].mux, e)
}

// register adds an entry to a mux, which panics when it does not like it.
func register(mux *http.ServeMux, e *entry) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New(registeredAt.ReplaceAllString(fmt.Sprint(p), ""))
		}
	}()
	mux.Handle(e.Pattern, e)
	return nil
}

// registeredAt is where ServeMux saw a pattern registered: always above.
var registeredAt = regexp.MustCompile(` \(registered at [^)]*\)`)
