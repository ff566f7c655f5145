// Fcgi-client asks a FastCGI application, such as php-fpm, as a web server
// would, and prints what it says. It shows fcgi.Transport, with which any
// http.Client can do so.
//
//	go run ./examples/fcgi-client -app /run/php/php8.2-fpm.sock -root /var/www/html 'http://localhost/index.php?q=1'
//	go run ./examples/fcgi-client -app /run/php/php8.2-fpm.sock -root /var/www/html -d name=value http://localhost/form.php
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/hythe-go/hythe/fcgi"
)

func main() {
	log.SetFlags(0)
	app := flag.String("app", "/run/php/php-fpm.sock", "the application's Unix socket, or host:port")
	root := flag.String("root", "/var/www/html", "the directory of the scripts")
	data := flag.String("d", "", "a form to post")
	timeout := flag.Duration("timeout", time.Minute, "how long to wait at most")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("fcgi-client: one URL is needed")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	if err := ask(ctx, transport(*app, *root), flag.Arg(0), *data, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// transport returns what talks to the application. What that says on its
// FCGI_STDERR, as PHP does with its warnings, is printed.
func transport(app, root string) *fcgi.Transport {
	network := "unix"
	if !strings.Contains(app, "/") {
		network = "tcp"
	}
	return &fcgi.Transport{
		Network: network,
		Address: app,
		Root:    root,
		Stderr:  func(_ *http.Request, p []byte) { os.Stderr.Write(p) },
	}
}

// ask makes a request and prints the response. When ctx ends, the application is
// told to stop.
func ask(ctx context.Context, t *fcgi.Transport, url, form string, out io.Writer) error {
	client := &http.Client{Transport: t}
	defer client.CloseIdleConnections()
	method, body := http.MethodGet, io.Reader(nil)
	if form != "" {
		method, body = http.MethodPost, strings.NewReader(form)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	fmt.Fprintln(out, resp.Status)
	resp.Header.Write(out)
	fmt.Fprintln(out)
	_, err = io.Copy(out, resp.Body)
	return err
}
