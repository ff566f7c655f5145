// Package relay is the core of the daemon: messages, the intake that spools them
// before anybody is told that they were taken, and the lanes that hand them to
// outputs and remember what was delivered.
//
//	inputs ──► Intake ──► Route ──► spool ──► Delivery ──► Lane ──► Output
//	              │      (matches)  (durable)  (a cursor)  (in order)  (over a link)
//	              └ done(nil): every route has it on disk
package relay

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A Message is what is relayed. Its slices belong to whoever made it.
type Message struct {
	// ID stays with the message from hop to hop, so that whoever gets it twice
	// can tell. If it is empty the Intake makes one.
	ID []byte

	// Received is when the first relay took it.
	Received time.Time

	// Source is where that relay had it from: the input's name and the peer.
	Source []byte

	// Key orders messages: those with the same one arrive in the order in which
	// they were taken, even over several lanes. Empty is a key too.
	Key []byte

	// Cause says why a dead letter is one. It is empty in all others.
	Cause []byte

	// Only, if not empty, is the one output that the message is for: it was
	// a dead letter of that output's.
	Only []byte

	Body []byte

	// Again says that the message was handed out before and may have been
	// delivered. It is not spooled.
	Again bool
}

// The largest fields.
const (
	MaxID     = 256
	MaxSource = 256
	MaxKey    = 1 << 10
	MaxCause  = 4 << 10
	MaxOnly   = 256
)

// MaxEnvelope is how much larger than its message an envelope may be.
const MaxEnvelope = 64 + MaxID + MaxSource + MaxKey + MaxCause + MaxOnly

// Envelope versions. The first byte of every record.
const envelope1 = 1

// ErrEnvelope means that a record is no message.
var ErrEnvelope = errors.New("relay: malformed envelope")

// Append appends the message's envelope, which is what is spooled, and what
// relays send each other: a version byte, 1; the time in nanoseconds of the Unix
// epoch, 8 bytes, big-endian; id, source, key, cause and the one output, each behind
// its length as a uvarint; and the body, which takes the rest. Fields that are too
// long are cut.
func (m *Message) Append(dst []byte) []byte {
	dst = append(dst, envelope1)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Received.UnixNano()))
	dst = appendField(dst, m.ID, MaxID)
	dst = appendField(dst, m.Source, MaxSource)
	dst = appendField(dst, m.Key, MaxKey)
	dst = appendField(dst, m.Cause, MaxCause)
	dst = appendField(dst, m.Only, MaxOnly)
	return append(dst, m.Body...)
}

// AppendFrame appends the envelope in the framing hythe: behind its length in
// 4 bytes, big-endian.
func (m *Message) AppendFrame(dst []byte) []byte {
	at := len(dst)
	dst = m.Append(append(dst, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

func appendField(dst, field []byte, most int) []byte {
	field = field[:min(len(field), most)]
	dst = binary.AppendUvarint(dst, uint64(len(field)))
	return append(dst, field...)
}

// Parse returns the message in an envelope. Its slices are parts of b.
func Parse(b []byte) (m Message, err error) {
	if len(b) < 9 || b[0] != envelope1 {
		return Message{}, ErrEnvelope
	}
	m.Received = time.Unix(0, int64(binary.BigEndian.Uint64(b[1:])))
	b = b[9:]
	for _, field := range [...]struct {
		to   *[]byte
		most uint64
	}{{&m.ID, MaxID}, {&m.Source, MaxSource}, {&m.Key, MaxKey}, {&m.Cause, MaxCause}, {&m.Only, MaxOnly}} {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > field.most || size > uint64(len(b)-n) {
			return Message{}, ErrEnvelope
		}
		b = b[n:]
		*field.to, b = b[:size:size], b[size:]
	}
	m.Body = b
	return m, nil
}

// envelopeSize is how long the envelope of a message may become, beside its id.
func (m *Message) envelopeSize() int {
	return 9 + 10 + len(m.Source) + len(m.Key) + len(m.Cause) + len(m.Only) + len(m.Body)
}

// IDs makes ids that no other process makes: a random word for the process, a
// dash and a number that counts up.
type IDs struct {
	word string
	last atomic.Uint64
}

// NewIDs returns a source of ids.
func NewIDs() *IDs {
	return &IDs{word: strings.ToLower(rand.Text()[:16]) + "-"}
}

// Reserve sets n ids aside and returns the number of the first, for Append.
func (s *IDs) Reserve(n int) (first uint64) { return s.last.Add(uint64(n)) - uint64(n) + 1 }

// Append appends the id with that number.
func (s *IDs) Append(dst []byte, number uint64) []byte {
	return strconv.AppendUint(append(dst, s.word...), number, 36)
}
