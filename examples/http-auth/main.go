// Http-auth is a web page behind a password. It shows basic authentication with
// passwords kept as slow hashes, a log that says who it was, and a panic that
// becomes an answer.
//
//	go run ./examples/http-auth
//	curl -u ann:secret http://127.0.0.1:7000/
package main

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
	"github.com/hythe-go/hythe/httpd/middleware"
)

// users are names and the hashes of their passwords.
type users struct {
	salt   []byte
	hashes map[string][]byte
	nobody []byte // a hash of no password
}

func newUsers(passwords map[string]string) *users {
	u := &users{salt: make([]byte, 16), hashes: make(map[string][]byte), nobody: make([]byte, sha256.Size)}
	rand.Read(u.salt)
	for name, password := range passwords {
		u.hashes[name] = u.hash(password)
	}
	return u
}

// hash takes some ten milliseconds, so that guessing does, too.
func (u *users) hash(password string) []byte {
	sum, err := pbkdf2.Key(sha256.New, password, u.salt, 50_000, sha256.Size)
	if err != nil {
		panic(err) // only FIPS mode refuses, a salt that is too short
	}
	return sum
}

// check takes as long for a name that nobody has.
func (u *users) check(_ context.Context, name, password string) bool {
	want, known := u.hashes[name]
	if !known {
		want = u.nobody
	}
	return subtle.ConstantTimeCompare(u.hash(password), want) == 1 && known
}

func newServer(accessLog io.Writer) *hythe.Server {
	auth := middleware.BasicAuth{Realm: "example", Check: newUsers(map[string]string{"ann": "secret"}).check}
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _, _ := r.BasicAuth()
		fmt.Fprintf(w, "hello, %s\n", name)
	})
	handler := middleware.AccessLog(middleware.Common(accessLog))(middleware.Recover(nil)(auth.Wrap(page)))
	return &hythe.Server{Service: &httpd.Server{Handler: handler}}
}

func main() {
	endpoint := flag.String("listen", "tcp://127.0.0.1:7000", "where to listen")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	srv := newServer(os.Stdout)
	srv.OnListen = func(a net.Addr) { log.Print("listening on ", a) }
	if err := srv.ListenAndServe(ctx, *endpoint); err != nil {
		log.Fatal(err)
	}
}
