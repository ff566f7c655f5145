package middleware

import (
	"bufio"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Compress compresses what handlers answer, if the client accepts it, the kind
// of content gains from it, and there is enough of it. The zero value does so
// with gzip.
//
// It leaves alone what has a Content-Encoding already or Cache-Control:
// no-transform, ranges (206), answers without a body, and connections that
// handlers take over. What it compresses, or would have for another client, says
// Vary: Accept-Encoding; its ETag becomes a weak one, and Accept-Ranges goes. A
// Flush sends what was written so far.
//
// Compressed secrets beside text that a stranger chose can be guessed from the
// length (BREACH): do not wrap handlers that answer with both.
type Compress struct {
	// Encodings are those on offer, the most preferred first. Nil means gzip at
	// its default level.
	Encodings []Encoding

	// MinSize is how many bytes an answer must have to be worth it. Zero means
	// 1,024, negative any number. One that is flushed before is long enough.
	MinSize int

	// Types says which kinds of content gain, of the Content-Type in lower case
	// without parameters. Nil means text other than text/event-stream, JSON, XML,
	// JavaScript, WebAssembly, SVG and what ends in +json or +xml. An event stream
	// lives long, and each encoder takes some hundred kilobytes.
	Types func(mediaType string) bool
}

// An Encoding is one content coding.
type Encoding struct {
	Name string         // as in Accept-Encoding, lower case: "gzip", "br", "zstd"
	New  func() Encoder // must not return nil
}

// An Encoder compresses. Encoders are used again, after Reset.
type Encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// Gzip is an Encoding with package compress/gzip, at one of its levels.
func Gzip(level int) Encoding {
	if _, err := gzip.NewWriterLevel(nil, level); err != nil {
		panic("middleware: " + err.Error())
	}
	return Encoding{Name: "gzip", New: func() Encoder {
		z, _ := gzip.NewWriterLevel(nil, level)
		return z
	}}
}

// Wrap is the middleware.
func (c Compress) Wrap(next http.Handler) http.Handler {
	if c.Encodings == nil {
		c.Encodings = []Encoding{Gzip(gzip.DefaultCompression)}
	}
	if c.MinSize == 0 {
		c.MinSize = 1024
	}
	if c.Types == nil {
		c.Types = compressible
	}
	names := make([]string, len(c.Encodings))
	pools := make(map[string]*sync.Pool)
	for i, e := range c.Encodings {
		names[i] = e.Name
		pools[e.Name] = &sync.Pool{New: func() any { return e.New() }}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		encoding := choose(r.Header["Accept-Encoding"], names)
		cw := &compressWriter{ResponseWriter: w, config: &c, encoding: encoding, pool: pools[encoding], request: r}
		returned := false
		defer func() {
			if !returned { // nothing must look like the end of the answer
				cw.release()
			}
		}()
		next.ServeHTTP(cw, r)
		returned = true
		cw.close()
	})
}

func compressible(mediaType string) bool {
	switch mediaType {
	case "text/event-stream":
		return false
	case "application/json", "application/xml", "application/javascript", "application/x-javascript",
		"application/wasm", "application/manifest+json", "application/x-ndjson", "image/svg+xml":
		return true
	}
	return strings.HasPrefix(mediaType, "text/") || strings.HasSuffix(mediaType, "+json") || strings.HasSuffix(mediaType, "+xml")
}

// A compressWriter puts off the header until it is clear what is to be done:
//
//	undecided ──► passing      header sent as it was, body passed on
//	    └───────► encoding     header changed and sent, body goes through enc
type compressWriter struct {
	http.ResponseWriter
	config   *Compress
	encoding string // "" if the client accepts none
	pool     *sync.Pool
	request  *http.Request

	status   int    // given by the handler, 0 before
	held     []byte // written while undecided, less than MinSize
	decided  bool
	encoded  bool
	enc      Encoder // while encoding, but for HEAD
	left     int64   // while encoding: how much of Content-Length is to come, or noLength
	hijacked bool
}

const noLength = -1

// Unwrap is for http.ResponseController.
func (w *compressWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *compressWriter) WriteHeader(status int) {
	switch {
	case w.status != 0: // superfluous
	case status < 200 && status != http.StatusSwitchingProtocols:
		w.ResponseWriter.WriteHeader(status)
	default:
		w.status = status
		length := w.length()
		switch {
		case !w.eligible():
			w.pass()
		case w.encoding == "": // the content may gain, but there is nothing to wait for
			addVary(w.Header())
			w.pass()
		case w.Header().Get("Content-Type") != "" && length != noLength:
			w.decide(length >= int64(w.config.MinSize))
		}
	}
}

// length is what the handler says of the body's length, or noLength.
func (w *compressWriter) length() int64 {
	n, err := strconv.ParseUint(w.Header().Get("Content-Length"), 10, 63)
	if err != nil {
		return noLength
	}
	return int64(n)
}

// eligible reports whether the answer could be compressed, as far as can be told
// from its header. The type may not be known yet.
func (w *compressWriter) eligible() bool {
	h := w.Header()
	if !hasBody(w.status) || w.status == http.StatusPartialContent || h["Content-Encoding"] != nil ||
		strings.Contains(strings.ToLower(strings.Join(h["Cache-Control"], ",")), "no-transform") {
		return false
	}
	return h.Get("Content-Type") == "" || w.config.Types(mediaType(h))
}

func mediaType(h http.Header) string {
	t, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.ToLower(strings.Trim(t, " \t"))
}

// pass sends the header as it is.
func (w *compressWriter) pass() {
	w.decided = true
	if w.status == http.StatusNotModified {
		w.notModified()
	}
	w.ResponseWriter.WriteHeader(w.status)
}

// notModified has a 304 say what the 200 would have said: RFC 9110, 15.4.5. Its
// type is not known any more, but that the client has a weak ETag is: from us.
func (w *compressWriter) notModified() {
	addVary(w.Header())
	if etag := w.Header().Get("Etag"); strings.HasPrefix(etag, `"`) &&
		strings.Contains(strings.Join(w.request.Header["If-None-Match"], ","), "W/"+etag) {
		w.Header().Set("Etag", "W/"+etag)
	}
}

// decide ends the wait. long says that the body is worth compressing.
func (w *compressWriter) decide(long bool) {
	w.decided = true
	h := w.Header()
	if _, set := h["Content-Type"]; !set && len(w.held) > 0 {
		h.Set("Content-Type", http.DetectContentType(w.held)) // the server would see compressed bytes
	}
	if long && w.config.Types(mediaType(h)) {
		addVary(h)
		w.encode()
	}
	w.ResponseWriter.WriteHeader(w.status)
}

// encode changes the header and has what follows compressed.
func (w *compressWriter) encode() {
	w.encoded = true
	w.left = w.length()
	h := w.Header()
	h.Set("Content-Encoding", w.encoding)
	h.Del("Content-Length")
	h.Del("Accept-Ranges")
	if etag := h.Get("Etag"); strings.HasPrefix(etag, `"`) {
		h.Set("Etag", "W/"+etag)
	}
	if w.request.Method != http.MethodHead {
		w.enc = w.pool.Get().(Encoder)
		w.enc.Reset(struct{ io.Writer }{w.ResponseWriter})
	}
}

func addVary(h http.Header) {
	for _, v := range splitList(h["Vary"]) {
		if v == "*" || strings.EqualFold(v, "Accept-Encoding") {
			return
		}
	}
	h.Add("Vary", "Accept-Encoding")
}

func (w *compressWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.decided {
		if len(w.held)+len(p) < w.config.MinSize {
			w.held = append(w.held, p...)
			return len(p), nil
		}
		held := len(w.held)
		w.held = append(w.held, p...)
		n, err := w.settle(true)
		return max(0, n-held), err
	}
	return w.write(p)
}

// settle decides, and writes what was held.
func (w *compressWriter) settle(long bool) (int, error) {
	w.decide(long)
	held := w.held
	w.held = nil
	if len(held) == 0 {
		return 0, nil
	}
	return w.write(held)
}

func (w *compressWriter) write(p []byte) (int, error) {
	if !w.encoded {
		return w.ResponseWriter.Write(p)
	}
	if w.left != noLength {
		if int64(len(p)) > w.left {
			return 0, http.ErrContentLength
		}
		w.left -= int64(len(p))
	}
	if w.enc == nil {
		return len(p), nil // to HEAD; the server would count it
	}
	return w.enc.Write(p)
}

// ReadFrom passes the reader on if its bytes are, which lets the kernel send
// files.
func (w *compressWriter) ReadFrom(r io.Reader) (int64, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.decided && !w.encoded {
		return readFrom(w.ResponseWriter, r)
	}
	return io.Copy(struct{ io.Writer }{w}, r)
}

func (w *compressWriter) Flush() { w.FlushError() }

// FlushError is what http.ResponseController looks for.
func (w *compressWriter) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.decided {
		if _, err := w.settle(true); err != nil {
			return err
		}
	}
	if w.enc != nil {
		if err := w.enc.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *compressWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.hijacked = err == nil
	return nc, rw, err
}

// close ends an answer whose handler has returned. One that has fewer bytes than
// its handler said must not look whole.
func (w *compressWriter) close() {
	if w.hijacked || w.status == 0 {
		return
	}
	if !w.decided {
		w.settle(false)
	}
	if w.enc == nil {
		return
	}
	if w.left > 0 {
		w.release()
		panic(http.ErrAbortHandler)
	}
	w.enc.Close() // an error is the connection's, and the server's to deal with
	w.release()
}

// release gives the encoder back, whatever is left in it.
func (w *compressWriter) release() {
	if w.enc != nil {
		w.enc.Reset(io.Discard)
		w.pool.Put(w.enc)
		w.enc = nil
	}
}
