package middleware

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// A writer is a ResponseWriter that knows what has become of the answer. Its
// methods are called by the handler's goroutine alone.
type writer struct {
	http.ResponseWriter
	status   int   // of the final header, or 0 while there is none
	bytes    int64 // of the body, as far as the server took it
	err      error // the first one that writing had
	hijacked bool
	user     string // whom BasicAuth let in
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	w.began()
	n, err := w.ResponseWriter.Write(p)
	w.wrote(int64(n), err)
	return n, err
}

// ReadFrom passes the reader on, which lets the kernel send files.
func (w *writer) ReadFrom(r io.Reader) (int64, error) {
	w.began()
	n, err := readFrom(w.ResponseWriter, r)
	w.wrote(n, err)
	return n, err
}

func readFrom(w http.ResponseWriter, r io.Reader) (int64, error) {
	if to, ok := w.(io.ReaderFrom); ok {
		return to.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{w}, r)
}

func (w *writer) Flush() { w.FlushError() }

// FlushError is what http.ResponseController looks for.
func (w *writer) FlushError() error {
	w.began()
	err := http.NewResponseController(w.ResponseWriter).Flush()
	w.wrote(0, err)
	return err
}

func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.hijacked = err == nil
	return nc, rw, err
}

func (w *writer) began() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
}

func (w *writer) wrote(n int64, err error) {
	w.bytes += n
	if w.err == nil {
		w.err = err
	}
}

// find returns the closest of our writers that w wraps, or nil.
func find(w http.ResponseWriter) *writer {
	for {
		switch at := w.(type) {
		case *writer:
			return at
		case interface{ Unwrap() http.ResponseWriter }:
			w = at.Unwrap()
		default:
			return nil
		}
	}
}
