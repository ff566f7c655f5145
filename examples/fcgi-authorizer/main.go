// Fcgi-authorizer decides which requests a web server lets pass: the role of
// Authorizer. A request with the right password passes, and the application
// behind it is told who came, in the variable REMOTE_TEAM; all others get the
// answer that is made here.
//
//	go run ./examples/fcgi-authorizer -listen tcp://127.0.0.1:9000
//
// with Apache's mod_authnz_fcgi:
//
//	AuthnzFcgiDefineProvider authn door fcgi://127.0.0.1:9000/
//	<Location "/private/">
//		AuthType Basic
//		AuthName "the door"
//		AuthBasicProvider door
//		Require valid-user
//	</Location>
//
// or with lighttpd's mod_fastcgi:
//
//	fastcgi.server = ( "/private/" => (( "host" => "127.0.0.1", "port" => 9000, "mode" => "authorizer", "check-local" => "disable", "docroot" => "/srv/www" )) )
package main

import (
	"context"
	"crypto/subtle"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/fcgi"
)

// door lets a team in.
type door struct{ team, password string }

func (d door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	team, password, _ := r.BasicAuth()
	if team == "" { // Apache has taken the password apart
		team, password = fcgi.Param(r, "REMOTE_USER"), fcgi.Param(r, "REMOTE_PASSWD")
	}
	if team == d.team && subtle.ConstantTimeCompare([]byte(password), []byte(d.password)) == 1 {
		fcgi.SetVariable(w, "REMOTE_TEAM", team)
		return // status 200: let it pass
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="the door"`)
	http.Error(w, "Who goes there?", http.StatusUnauthorized)
}

func newServer() *hythe.Server {
	return &hythe.Server{Service: &fcgi.Server{Authorizer: door{"blue", "sesame"}}}
}

func main() {
	endpoint := flag.String("listen", "tcp://127.0.0.1:9000", "where to listen")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	srv := newServer()
	srv.OnListen = func(a net.Addr) { log.Print("listening on ", a) }
	if err := srv.ListenAndServe(ctx, *endpoint); err != nil {
		log.Fatal(err)
	}
}
