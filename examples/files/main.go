// Files sends the file whose name a client asks for, and closes. It shows that
// a connection is an io.Writer that goes at the peer's pace: a file of any size
// takes a few hundred kilobytes of memory, however slowly it is read.
//
//	go run ./examples/files -root .
//	echo go.mod | nc 127.0.0.1 7000
package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"io/fs"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

type conn = hythe.Conn[string, string]

// session serves one request. No name leads out of root, not by "..", nor by a
// symbolic link.
type session struct{ root *os.Root }

func (s session) Input(c *conn, name string) error {
	defer c.Shutdown()
	f, err := s.open(name)
	if err != nil {
		return c.Send("error: " + err.Error())
	}
	defer f.Close()
	_, err = io.Copy(c, f) // waits for the peer, and holds up nobody else
	return err
}

func (s session) open(name string) (*os.File, error) {
	switch info, err := s.root.Stat(name); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	return s.root.Open(name)
}

func newServer(root *os.Root) *hythe.Server {
	return &hythe.Server{
		Service: hythe.Sessions(codec.Line{Max: 4096}.Strings(), func(*conn) session { return session{root} }),
	}
}

func main() {
	endpoint := flag.String("listen", "tcp://127.0.0.1:7000", "where to listen")
	dir := flag.String("root", ".", "the directory whose files are sent")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	root, err := os.OpenRoot(*dir)
	if err != nil {
		log.Fatal(err)
	}
	srv := newServer(root)
	srv.OnListen = func(a net.Addr) { log.Print("listening on ", a) }
	if err := srv.ListenAndServe(ctx, *endpoint); err != nil {
		log.Fatal(err)
	}
}
