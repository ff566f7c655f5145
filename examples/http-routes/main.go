// Http-routes is a web server whose routes are replaced while it serves. It shows
// a table that is swapped as a whole or not at all: requests under way end as they
// began, no connection is closed, and a list with a mistake in it changes nothing.
//
//	go run ./examples/http-routes
//	curl http://127.0.0.1:7000/hello
//	printf 'GET /hello good day\n~^/h. something with h\n' | curl --data-binary @- http://127.0.0.1:7000/routes
//	curl http://127.0.0.1:7000/hello
//	curl http://127.0.0.1:7000/routes
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// site is a table that has, in front of all others, the routes to change it by.
type site struct{ table httpd.Table }

func newSite() *site {
	s := new(site)
	if err := s.replace(strings.NewReader("GET /hello hello\n")); err != nil {
		panic(err) // of a list that is written above
	}
	return s
}

// replace reads a line for each route: a method if it matters, a pattern, and the
// text to answer.
func (s *site) replace(lines io.Reader) error {
	list := []httpd.Route{
		{Name: "list", Pattern: "GET /routes", Handler: http.HandlerFunc(s.list)},
		{Name: "replace", Pattern: "POST /routes", Handler: http.HandlerFunc(s.post)},
	}
	scanner := bufio.NewScanner(lines)
	for scanner.Scan() {
		pattern, answer, _ := strings.Cut(scanner.Text(), " ")
		if !strings.ContainsAny(pattern, "/~") { // it is a method
			rest, text, _ := strings.Cut(answer, " ")
			pattern, answer = pattern+" "+rest, text
		}
		list = append(list, httpd.Route{Pattern: pattern, Handler: text(answer)})
	}
	if err := scanner.Err(); err != nil {
		return err
	}
	_, err := s.table.Swap(list)
	return err
}

func (s *site) post(w http.ResponseWriter, r *http.Request) {
	if err := s.replace(http.MaxBytesReader(w, r.Body, 1<<20)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.list(w, r)
}

func (s *site) list(w http.ResponseWriter, r *http.Request) {
	for _, route := range s.table.Routes() {
		fmt.Fprintln(w, route.Pattern)
	}
}

// text answers with the text and the route that led here.
type text string

func (t text) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, _ := httpd.RouteOf(r)
	fmt.Fprintf(w, "%s (%s)\n", string(t), route.Pattern)
}

func newServer() *hythe.Server {
	return &hythe.Server{Service: &httpd.Server{Handler: &newSite().table}}
}

func main() {
	endpoint := flag.String("listen", "tcp://127.0.0.1:7000", "where to listen")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	srv := newServer()
	srv.OnListen = func(a net.Addr) { log.Print("listening on ", a) }
	if err := srv.ListenAndServe(ctx, *endpoint); err != nil {
		log.Fatal(err)
	}
}
