package codec

// Block is the framing of POE's Block filter with variable sizes: the length in decimal digits, a NUL, the message. It
// is strict: anything else where a length is due is a [*DecodeError]. The zero value allows [DefaultMax] bytes in a
// message. The codecs are safe for concurrent use. Blocks of one fixed size are a [FixedSize].
type Block struct {
	// Max is the size of the largest message in bytes. Zero means DefaultMax.
	Max int
}

// Blocks returns the codec of blocks, owned by the receiver, with the settings of the zero [Block].
func Blocks() Codec[[]byte, []byte] { return Block{}.Bytes() }

// Bytes returns the codec of messages owned by the receiver: one allocation for each received.
func (s Block) Bytes() Codec[[]byte, []byte] { return Owned(s.Borrowed()) }

// Borrowed returns the codec of messages that are parts of the input, valid until the next Decode: no allocation.
func (s Block) Borrowed() Codec[[]byte, []byte] {
	if err := s.Validate(); err != nil {
		return invalid[[]byte, []byte]{err}
	}
	return &decimal{name: "block", max: limit(s.Max), colon: 0}
}

// Validate returns what is wrong with the settings, naming the field, or nil.
func (s Block) Validate() error { return needMax("Block.Max", s.Max) }
