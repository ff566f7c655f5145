// Package codec turns bytes into messages and messages into bytes. A codec is a pure step: it does no I/O, reads no
// clock, starts no goroutine and never waits, so it works the same under a server, a client, a test or a fuzzer. The
// package has the usual framings ([Line], [Delimiter], [FixedSize], [LengthPrefix], [Netstring], [Block], [Chunk]), JSON
// and gob values on top of them, and combinators ([Map], [Grep], [Batch], [Stack], [Pair], [Zlib]) that build codecs from
// codecs. Each framing is a plain struct whose zero value has finite limits, and a short constructor for the default:
//
//	codec.Lines()                                     // lines as strings, 64 KiB at most
//	codec.Line{Max: 4096, Out: "\r\n"}.Strings()      // the same with other settings
//	codec.LengthPrefix{Width: codec.Uint16}.Bytes()   // frames behind a 16-bit length
//	codec.JSONLines[Event]()                          // one JSON value per line
//	codec.Pair(codec.Lines(), codec.Netstrings())     // lines in, netstrings out
//
// # Writing a codec
//
// A codec is two methods, [Decoder] and [Encoder]. Decode is given everything that has been read and not used yet, and
// returns one message and the number of bytes it took, or [ErrShort] when the message is not complete. It is called
// again with the same bytes and more, so it need not remember where it was:
//
//	type frame struct{ kind byte; body string }
//	type frames struct{}
//
//	func (frames) Decode(src []byte, eof bool) (int, frame, error) {
//		if len(src) == 0 && eof {
//			return 0, frame{}, io.EOF
//		}
//		if len(src) < 2 || len(src) < 2+int(src[1]) {
//			if eof {
//				return 0, frame{}, io.ErrUnexpectedEOF
//			}
//			return 0, frame{}, codec.ErrShort
//		}
//		n := 2 + int(src[1])
//		return n, frame{src[0], string(src[2:n])}, nil
//	}
//
//	func (frames) Append(dst []byte, f frame) ([]byte, error) {
//		if len(f.body) > 255 {
//			return dst, codec.ErrFrameTooLarge
//		}
//		return append(append(dst, f.kind, byte(len(f.body))), f.body...), nil
//	}
//
// One codec value serves many connections at once, so it may hold settings but no state. A codec that must remember
// something between calls implements [PerConn]. Package codectest checks all that is promised here: give it a codec and
// a few messages.
//
// # Limits
//
// Every framing has a limit, [DefaultMax] (64 KiB) unless set, and returns [ErrFrameTooLarge] as soon as the bytes there
// show that the limit is passed, before anything is allocated; Append checks the same limit, and that a length fits its
// field. No setting means "without limit", and none may be above 1 GiB. Settings that make no sense never turn into
// others: the codec built from them returns the error of Validate from every call.
//
// While a message is incomplete the caller keeps at most the limit and the framing around it. The framings without a
// length look at those bytes again at each call; a peer that sends one byte at a time makes them look at no more than
// the limit each time.
//
// # Buffers
//
// The bytes given to Decode belong to the caller and are reused by it. Messages do not refer to them, but for the codecs
// made by a constructor or method with Borrowed in its name: their messages are parts of the input, valid until the next
// call of Decode on that connection, or, under a server, until the handler returns. Appending to such a message does not
// touch the input behind it; writing into it does. [Owned] and [Strings] turn a borrowing codec into a copying one.
// Append copies what it is given and keeps nothing.
package codec
