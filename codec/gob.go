package codec

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"reflect"
)

// GobValue is the encoding of values of type T by encoding/gob, one in each frame of a framing. The zero value has the
// frames of the zero [LengthPrefix]. Each frame stands alone and so carries the description of T, some hundred bytes; what
// that costs in space and time is the price of frames that can be lost, cut short or put in another order. The codec is
// safe for concurrent use, unless Frames keep state.
type GobValue[T any] struct {
	// Frames carry the values. Nil means LengthPrefix{}.Borrowed(). They may borrow: values refer to no input.
	Frames Codec[[]byte, []byte]
}

// Gob returns the codec of gob values behind a 32-bit big-endian length, with the settings of the zero [GobValue].
func Gob[T any]() Codec[T, T] { return GobValue[T]{}.Codec() }

// Codec returns the codec of the values.
func (s GobValue[T]) Codec() Codec[T, T] {
	return mapNamed("gob", framesOf(s.Frames), decodeGob[T], encodeGob[T])
}

// Validate returns what is wrong with Frames, or nil.
func (s GobValue[T]) Validate() error { return validate(framesOf(s.Frames)) }

func decodeGob[T any](frame []byte) (v T, err error) {
	r := bytes.NewReader(frame)
	if err := gob.NewDecoder(r).Decode(&v); err != nil {
		return v, err
	}
	if r.Len() > 0 {
		return v, fmt.Errorf("%d bytes after the value", r.Len())
	}
	return v, nil
}

func encodeGob[T any](v T) ([]byte, error) {
	if p := reflect.ValueOf(&v).Elem(); p.Kind() == reflect.Pointer && p.IsNil() {
		return nil, fmt.Errorf("nil %T", v) // gob would make it something else
	}
	var buf bytes.Buffer
	err := gob.NewEncoder(&buf).Encode(&v)
	return buf.Bytes(), err
}
