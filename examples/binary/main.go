// Binary speaks a protocol of its own. It shows how a codec is written: two
// pure functions between bytes and messages. The test shows how package
// codectest checks them.
//
// A frame is a type, the length of its body in two bytes, and the body:
//
//	go run ./examples/binary
//	printf 'u\0\005hello' | nc -N 127.0.0.1 7000 | od -c
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

type frame struct {
	Type byte
	Body string
}

const (
	headerBytes = 3
	maxBody     = 16 << 10
)

// frames is the codec. It has no state, so all connections share it.
type frames struct{}

// Decode returns the first frame of src and how many bytes it took.
func (frames) Decode(src []byte, eof bool) (int, frame, error) {
	total := headerBytes
	if len(src) >= headerBytes {
		body := int(binary.BigEndian.Uint16(src[1:]))
		if body > maxBody {
			return 0, frame{}, codec.ErrFrameTooLarge // before it has come
		}
		total += body
	}
	switch {
	case len(src) >= total:
		return total, frame{src[0], string(src[headerBytes:total])}, nil
	case !eof:
		return 0, frame{}, codec.Short(total) // asks again when so many bytes are there
	case len(src) == 0:
		return 0, frame{}, io.EOF
	}
	return 0, frame{}, io.ErrUnexpectedEOF
}

// Append appends f's bytes to dst.
func (frames) Append(dst []byte, f frame) ([]byte, error) {
	if len(f.Body) > maxBody {
		return dst, codec.ErrFrameTooLarge
	}
	dst = binary.BigEndian.AppendUint16(append(dst, f.Type), uint16(len(f.Body)))
	return append(dst, f.Body...), nil
}

type conn = hythe.Conn[frame, frame]

type session struct{}

func (session) Input(c *conn, f frame) error {
	if f.Type == 'u' {
		return c.Send(frame{'u', strings.ToUpper(f.Body)})
	}
	return c.Send(frame{'!', fmt.Sprintf("unknown type %q", f.Type)})
}

func newServer() *hythe.Server {
	return &hythe.Server{
		Service: hythe.Sessions(frames{}, func(*conn) session { return session{} }),
	}
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
