package httpd_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/hythe-go/hythe/httpd"
)

// say answers with a word and the name of the route.
func say(word string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route, _ := httpd.RouteOf(r)
		fmt.Fprintln(w, word, "by", route.Name)
	})
}

func show(h http.Handler, target string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
	fmt.Print(w.Code, " ", w.Body)
}

func ExampleTable() {
	table, err := httpd.NewTable(
		httpd.Route{Name: "item", Pattern: "GET /items/{id}", Handler: say("an item")},
		httpd.Route{Name: "old", Pattern: `~^/item-(?P<id>\d+)\.html$`, Handler: say("an old address")},
		httpd.Route{Name: "rest", Pattern: "/", Handler: say("anything")},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	show(table, "/items/7")
	show(table, "/item-7.html")
	show(table, "/elsewhere")
	// Output:
	// 200 an item by item
	// 200 an old address by old
	// 200 anything by rest
}

// Routes are replaced while requests are served: all of them or none.
func ExampleTable_Swap() {
	table := new(httpd.Table)
	old, err := table.Swap([]httpd.Route{{Name: "v1", Pattern: "/", Handler: say("hello")}})
	fmt.Println(len(old), err)
	_, err = table.Swap([]httpd.Route{
		{Name: "v2", Pattern: "/", Handler: say("welcome")},
		{Name: "broken", Pattern: "~(", Handler: say("nothing")},
	})
	fmt.Println(err)
	show(table, "/")
	// Output:
	// 0 <nil>
	// httpd: route 1, "~(": error parsing regexp: missing closing ): `(`
	// 200 hello by v1
}

func ExampleTable_Edit() {
	table, _ := httpd.NewTable(
		httpd.Route{Name: "first", Pattern: "~.", Handler: say("one")},
		httpd.Route{Name: "second", Pattern: "~.", Handler: say("two")},
	)
	show(table, "/")
	table.Edit(func(list []httpd.Route) ([]httpd.Route, error) {
		return append(list[1:], list[0]), nil // the first becomes the last
	})
	show(table, "/")
	err := table.Edit(func([]httpd.Route) ([]httpd.Route, error) { return nil, errors.New("changed my mind") })
	fmt.Println(err)
	show(table, "/")
	// Output:
	// 200 one by first
	// 200 two by second
	// changed my mind
	// 200 two by second
}
