package input

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/spool"
)

// handler takes messages by POST.
type handler struct {
	c       *config.Input
	in      *relay.Intake
	repeats *Repeats
	token   []byte       // hash of the bearer token; nil: none is needed
	reading atomic.Int64 // bytes of requests in memory
}

const (
	// maxReading bounds the requests that are in memory at once, but for one.
	maxReading = 16 << 20

	// maxMessages is how many messages a request may have, each of which takes
	// messageBytes beside what it consists of.
	maxMessages  = 1 << 16
	messageBytes = 256
)

// NewHandler returns the handler of an input with the protocol http or fcgi. A POST
// to the path is answered with status 200 once all of its messages are durable on
// every route:
//
//	application/x-ndjson, application/jsonl  a message a line, which must be JSON
//	application/json                         one message, which must be JSON
//	application/octet-stream                 one message
//	anything else                            a message a line
//
// Lines end in LF or CRLF, and empty ones are none. There may be 65,536 messages in
// a request. One that is not answered with 200 has left nothing behind that counts:
// it is to be sent again when the status is 429 or 503, and was wrong otherwise.
//
// A request with an Idempotency-Key is not taken again as long as the key is
// remembered; it is answered as the first time. The ids of its messages are made
// of the key, so that they are the same even if the key has been forgotten.
func NewHandler(c *config.Input, in *relay.Intake) (http.Handler, error) {
	return new(Repeats).Handler(c, in)
}

// token returns the hash of the token in a file's first line.
func token(file string) ([]byte, error) {
	line, err := config.Token(file)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(line))
	return sum[:], nil
}

// A refusal is an answer that is not 200.
type refusal struct {
	status int
	text   string
	after  int // seconds
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, text: fmt.Sprintf(format, args...)}
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, err := h.serve(r)
	if err == nil {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		w.Write(answer)
		return
	}
	var no *refusal
	if !errors.As(err, &no) {
		no = refuse(http.StatusInternalServerError, "%v", err)
	}
	switch no.status {
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", "POST")
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if no.after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(no.after))
	}
	http.Error(w, no.text, no.status)
}

// serve takes one request, and returns the answer. Errors are refusals.
func (h *handler) serve(r *http.Request) ([]byte, error) {
	switch {
	case r.URL.Path != h.c.Path:
		return nil, refuse(http.StatusNotFound, "messages are taken at %s", h.c.Path)
	case r.Method != http.MethodPost:
		return nil, refuse(http.StatusMethodNotAllowed, "messages are sent by POST: a line each, or as application/json, application/x-ndjson or application/octet-stream")
	}
	if err := h.authorize(r); err != nil {
		return nil, err
	}
	b := bodies.Get().(*body)
	defer b.free()
	defer func() { h.reading.Add(-b.charged) }()
	err := h.read(b, r)
	if err == nil {
		err = h.split(b, r)
	}
	if err != nil {
		h.in.Refused(1)
		return nil, err
	}
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		return h.put(r, b)
	}
	if len(key) > relay.MaxID-24 {
		return nil, refuse(http.StatusBadRequest, "Idempotency-Key: longer than %d bytes", relay.MaxID-24)
	}
	req, again, err := h.repeats.begin(r.Context(), key)
	if err != nil {
		return nil, busy(err)
	}
	if again {
		h.in.Repeated(req.messages)
		return req.answer, nil
	}
	var answer []byte
	defer func() { h.repeats.end(req, len(b.msgs), answer) }()
	b.name(key)
	answer, err = h.put(r, b)
	return answer, err
}

func (h *handler) authorize(r *http.Request) error {
	if h.token == nil {
		return nil
	}
	scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(got)) // so that the time does not even tell the length
	if subtle.ConstantTimeCompare(sum[:], h.token) != 1 || !strings.EqualFold(scheme, "Bearer") {
		return refuse(http.StatusUnauthorized, "a token is needed")
	}
	return nil
}

// put makes the messages durable, and returns the answer.
func (h *handler) put(r *http.Request, b *body) ([]byte, error) {
	key := r.Header.Get(h.c.KeyHeader)
	if len(key) > relay.MaxKey {
		return nil, refuse(http.StatusBadRequest, "%s: longer than %d bytes", h.c.KeyHeader, relay.MaxKey)
	}
	b.meta = append(append(append(b.meta[:0], h.in.Name...), ' '), host(r)...)
	source := b.meta[:len(b.meta):len(b.meta)]
	b.meta = append(b.meta, key...)
	for i := range b.msgs {
		b.msgs[i].Source, b.msgs[i].Key = source, b.meta[len(source):]
	}
	b.ids = h.in.Identify(b.msgs, b.ids)
	// A client that leaves now is owed nothing, but what has begun is finished.
	err := h.in.Put(context.WithoutCancel(r.Context()), b.msgs, r.Header.Get)
	bad, noRoute := errors.AsType[*relay.RouteError](err)
	switch {
	case err == nil:
	case noRoute:
		return nil, refuse(http.StatusUnprocessableEntity, "no route takes message %d of %d, so none was taken", bad.Index+1, len(b.msgs))
	case errors.Is(err, spool.ErrTooLarge):
		return nil, refuse(http.StatusRequestEntityTooLarge, "a message is too large")
	case errors.Is(err, spool.ErrBusy):
		return nil, &refusal{status: http.StatusTooManyRequests, text: "the disk does not keep up", after: 1}
	default:
		return nil, busy(err)
	}
	answer := make([]byte, 0, 160)
	answer = strconv.AppendInt(append(answer, `{"messages":`...), int64(len(b.msgs)), 10)
	answer = appendQuoted(append(answer, `,"first":`...), b.msgs[0].ID)
	answer = appendQuoted(append(answer, `,"last":`...), b.msgs[len(b.msgs)-1].ID)
	return append(answer, "}\n"...), nil
}

func appendQuoted(dst, s []byte) []byte {
	q, err := json.Marshal(string(s))
	if err != nil {
		return append(dst, `""`...)
	}
	return append(dst, q...)
}

// busy is for what may go away: a full disk, or one that fails.
func busy(err error) *refusal {
	text := "cannot be taken now"
	if errors.Is(err, spool.ErrFull) {
		text = "there is no room for more messages"
	}
	return &refusal{status: http.StatusServiceUnavailable, text: text, after: 5}
}

// host returns the client's address without its port, which changes.
func host(r *http.Request) string {
	addr := r.RemoteAddr
	if i := strings.LastIndexByte(addr, ':'); i >= 0 {
		addr = addr[:i]
	}
	if addr == "" || addr == "@" {
		return "local"
	}
	return addr
}

// A body is a request's, with the messages in it.
type body struct {
	buf     []byte
	msgs    []relay.Message
	ids     []byte
	meta    []byte // source and key
	charged int64  // to handler.reading
}

var bodies = sync.Pool{New: func() any { return new(body) }}

func (b *body) free() {
	if cap(b.buf) > 256<<10 || cap(b.msgs) > 4<<10 {
		return
	}
	clear(b.msgs)
	b.buf, b.msgs, b.ids, b.charged = b.buf[:0], b.msgs[:0], b.ids[:0], 0
	bodies.Put(b)
}

// name makes the messages' ids of an Idempotency-Key.
func (b *body) name(key string) {
	b.ids = slices.Grow(b.ids[:0], len(b.msgs)*(len(key)+21))
	for i := range b.msgs {
		at := len(b.ids)
		b.ids = append(b.ids, key...)
		if len(b.msgs) > 1 {
			b.ids = strconv.AppendInt(append(b.ids, '-'), int64(i), 10)
		}
		b.msgs[i].ID = b.ids[at:len(b.ids):len(b.ids)]
	}
}

// charge counts n bytes more that the request takes, if there is room for them.
func (h *handler) charge(b *body, n int64) error {
	if now := h.reading.Add(n); now > maxReading && now > b.charged+n {
		h.reading.Add(-n)
		return &refusal{status: http.StatusServiceUnavailable, text: "too many large requests at once", after: 1}
	}
	b.charged += n
	return nil
}

// read reads the body. Memory grows with what has come, not with what is announced.
func (h *handler) read(b *body, r *http.Request) error {
	most := int64(h.c.MaxBody)
	tooLarge := refuse(http.StatusRequestEntityTooLarge, "more than %d bytes", most)
	if r.ContentLength > most {
		return tooLarge
	}
	room := int64(16 << 10)
	for {
		if r.ContentLength >= 0 {
			room = min(room, r.ContentLength+1) // 1 to see the end
		}
		if room = min(room, most+1); room > b.charged {
			if err := h.charge(b, room-b.charged); err != nil {
				return err
			}
			b.buf = slices.Grow(b.buf, int(room)-len(b.buf))
		}
		n, err := r.Body.Read(b.buf[len(b.buf):room])
		b.buf = b.buf[:len(b.buf)+n]
		_, tooMuch := errors.AsType[*http.MaxBytesError](err)
		have := int64(len(b.buf))
		switch {
		case have > most, tooMuch:
			return tooLarge
		case err == io.EOF && (r.ContentLength < 0 || have == r.ContentLength):
			return nil
		case err != nil, r.ContentLength >= 0 && have > r.ContentLength:
			return refuse(http.StatusBadRequest, "the body has not come whole")
		case have == room:
			room *= 2
		}
	}
}

// split finds the messages in the body.
func (h *handler) split(b *body, r *http.Request) error {
	if code := r.Header.Get("Content-Encoding"); code != "" && code != "identity" {
		return refuse(http.StatusUnsupportedMediaType, "a body with Content-Encoding: %s is not understood", code)
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	all := b.buf
	switch kind {
	case "application/json":
		if !json.Valid(all) {
			return refuse(http.StatusBadRequest, "the body is not JSON")
		}
		b.msgs = append(b.msgs, relay.Message{Body: all})
	case "application/octet-stream":
		b.msgs = append(b.msgs, relay.Message{Body: all})
	default:
		lines := bytes.Count(all, []byte("\n")) + 1
		if lines > maxMessages {
			return refuse(http.StatusRequestEntityTooLarge, "more than %d lines", maxMessages)
		}
		if err := h.charge(b, int64(lines)*messageBytes); err != nil {
			return err
		}
		isJSON := kind == "application/x-ndjson" || kind == "application/jsonl" || kind == "application/json-lines"
		for number := 1; len(all) > 0; number++ {
			var line []byte
			line, all, _ = bytes.Cut(all, []byte("\n"))
			line = bytes.TrimRight(line, "\r")
			if len(line) == 0 {
				continue
			}
			if isJSON && !json.Valid(line) {
				return refuse(http.StatusBadRequest, "line %d is not JSON", number)
			}
			b.msgs = append(b.msgs, relay.Message{Body: line})
		}
	}
	if len(b.msgs) == 0 || len(b.msgs) == 1 && len(b.msgs[0].Body) == 0 {
		return refuse(http.StatusBadRequest, "there is no message in the body")
	}
	for i := range b.msgs {
		if len(b.msgs[i].Body) > int(h.c.MaxMessage) {
			return refuse(http.StatusRequestEntityTooLarge, "a message is larger than %d bytes", h.c.MaxMessage)
		}
	}
	return nil
}
