package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// JSONValue is the encoding of values of type T as JSON, by encoding/json, one in each frame of a framing. The zero value
// has the frames of the zero [LengthPrefix]. The codec is safe for concurrent use, unless Frames keep state.
type JSONValue[T any] struct {
	// Frames carry the values. Nil means LengthPrefix{}.Borrowed(). They may borrow: values refer to no input.
	Frames Codec[[]byte, []byte]

	// Strict refuses objects with fields that T does not have. Without it they are ignored.
	Strict bool
}

// JSON returns the codec of JSON values behind a 32-bit big-endian length, with the settings of the zero [JSONValue].
func JSON[T any]() Codec[T, T] { return JSONValue[T]{}.Codec() }

// JSONLines returns the codec of JSON values of one line each, of at most [DefaultMax] bytes. Lines of nothing but white
// space are skipped.
func JSONLines[T any]() Codec[T, T] {
	return JSONValue[T]{Frames: Grep(Line{}.Borrowed(), notBlank, nil)}.Codec()
}

// notBlank reports whether line has something else than the white space of RFC 8259.
func notBlank(line []byte) bool { return len(bytes.Trim(line, " \t\r\n")) > 0 }

// Codec returns the codec of the values. Malformed JSON is a [*DecodeError] with the error of encoding/json in it.
func (s JSONValue[T]) Codec() Codec[T, T] {
	return mapNamed("json", framesOf(s.Frames), s.decode, encodeJSON[T])
}

// Validate returns what is wrong with Frames, or nil.
func (s JSONValue[T]) Validate() error { return validate(framesOf(s.Frames)) }

// framesOf returns the frames that the setting frames stands for.
func framesOf(frames Codec[[]byte, []byte]) Codec[[]byte, []byte] {
	if frames == nil {
		return LengthPrefix{}.Borrowed()
	}
	return frames
}

func (s JSONValue[T]) decode(frame []byte) (v T, err error) {
	if s.Strict {
		d := json.NewDecoder(bytes.NewReader(frame))
		d.DisallowUnknownFields()
		if err = d.Decode(&v); err == nil {
			if _, more := d.Token(); more != io.EOF {
				err = errors.New("data after the value")
			}
		}
	} else {
		err = json.Unmarshal(frame, &v)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return v, malformed("json", int(syntax.Offset), err)
	}
	return v, err
}

func encodeJSON[T any](v T) ([]byte, error) { return json.Marshal(v) }
