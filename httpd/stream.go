package httpd

import (
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Stream answers with what chunks yields, as it comes: the next one is asked for
// when the one before has been handed to the kernel, so that a slow client slows
// down whoever makes the answer, and nobody else. A chunk is used only until the
// next is asked for. The header is sent at once.
//
// When chunks yields an error the answer is cut off, so that the client can tell
// it from one that has ended; Stream then does not return, as if the handler had
// panicked with [http.ErrAbortHandler]. When the client has left, a write fails
// soon, and Stream returns what the connection says.
//
// The request's context is cancelled by a client that leaves, and also by one
// that has only finished sending and waits for its answer: net/http cannot tell
// them apart. chunks that give up because of the context must yield its error,
// else what there is so far looks like all of it. When the context is cancelled
// at the end Stream returns its error, though the answer may have arrived whole.
func Stream(w http.ResponseWriter, r *http.Request, chunks iter.Seq2[[]byte, error]) (err error) {
	defer func() {
		if err != nil {
			noteCut(w)
		}
	}()
	rc := http.NewResponseController(w)
	if err := rc.Flush(); err != nil {
		return err
	}
	for b, err := range chunks {
		if err != nil {
			if c := ConnOf(r.Context()); c != nil && !r.ProtoAtLeast(1, 1) {
				c.c.st.Reset() // in peace, the connection's end would be that of the answer
			}
			panic(http.ErrAbortHandler)
		}
		if len(b) > 0 {
			if _, err := w.Write(b); err != nil {
				return err
			}
			if err := rc.Flush(); err != nil {
				return err
			}
		}
	}
	return r.Context().Err()
}

// An Event is one of a stream of server-sent events, as
// https://html.spec.whatwg.org/multipage/server-sent-events.html has them.
type Event struct {
	ID    string        // what a client that comes back says that it has seen; empty: not sent
	Type  string        // empty: "message"
	Data  string        // may have several lines
	Retry time.Duration // how long a client is to wait before it comes back; 0: not sent
}

// Append appends the event to b as it is sent. Line ends in ID and Type are
// left out. An event with nothing but the zero Data is a comment, which keeps
// the connection from being taken for dead.
func (e Event) Append(b []byte) []byte {
	if e == (Event{}) {
		return append(b, ":\n\n"...)
	}
	field := func(name, value string) {
		b = append(append(append(b, name...), value...), '\n')
	}
	oneLine := strings.NewReplacer("\r", "", "\n", "", "\x00", "")
	if id := oneLine.Replace(e.ID); id != "" {
		field("id: ", id)
	}
	if name := oneLine.Replace(e.Type); name != "" {
		field("event: ", name)
	}
	if e.Retry >= time.Millisecond {
		field("retry: ", strconv.FormatInt(e.Retry.Milliseconds(), 10))
	}
	for line := range strings.SplitSeq(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(e.Data), "\n") {
		field("data: ", line)
	}
	return append(b, '\n')
}

// SetEventHeader sets the header of an answer that is a stream of events.
func SetEventHeader(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx
}

// Events answers with events, as Stream does with chunks.
func Events(w http.ResponseWriter, r *http.Request, events iter.Seq2[Event, error]) error {
	SetEventHeader(w.Header())
	return Stream(w, r, func(yield func([]byte, error) bool) {
		var b []byte
		for e, err := range events {
			b = e.Append(b[:0])
			if !yield(b, err) {
				return
			}
		}
	})
}
