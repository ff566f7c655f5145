package codec

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Zlib compresses the payload of each frame of a framing by itself, in the format of [RFC 1950]. The zero value has the
// frames of the zero [LengthPrefix] and allows [DefaultMax] bytes in an inflated message. The codec is safe for concurrent
// use, unless Frames keep state.
//
// [RFC 1950]: https://www.rfc-editor.org/rfc/rfc1950
type Zlib struct {
	// Frames carry the compressed messages; their limit is on the compressed size. Nil means LengthPrefix{}.Borrowed().
	Frames Codec[[]byte, []byte]

	// Max is the size of the largest message in bytes before it is compressed. Zero means DefaultMax. A frame that
	// inflates to more is refused when that many bytes have come out of it.
	Max int

	// Level is from 1, fast, to 9, small. Zero means the default of compress/zlib.
	Level int
}

// Bytes returns the codec of messages owned by the receiver.
func (s Zlib) Bytes() Codec[[]byte, []byte] {
	if err := s.Validate(); err != nil {
		return invalid[[]byte, []byte]{err}
	}
	z := &deflater{max: limit(s.Max), level: s.Level}
	if z.level == 0 {
		z.level = zlib.DefaultCompression
	}
	return mapNamed("zlib", framesOf(s.Frames), z.inflate, z.deflate)
}

// Validate returns all that is wrong with the settings, each error naming its field, or nil.
func (s Zlib) Validate() error {
	errs := []error{needMax("Zlib.Max", s.Max), validate(framesOf(s.Frames))}
	if s.Level < 0 || s.Level > zlib.BestCompression {
		errs = append(errs, fmt.Errorf("codec: Zlib.Level is %d: it must be between 1 and 9, or 0 for the default", s.Level))
	}
	return errors.Join(errs...)
}

type deflater struct {
	max, level int
	readers    sync.Pool // of io.ReadCloser that are zlib.Resetter; large, hence kept
	writers    sync.Pool // of *zlib.Writer; larger
}

func (z *deflater) inflate(frame []byte) ([]byte, error) {
	src := bytes.NewReader(frame)
	r, ok := z.readers.Get().(io.ReadCloser)
	var err error
	if ok {
		err = r.(zlib.Resetter).Reset(src, nil)
	} else {
		r, err = zlib.NewReader(src)
	}
	if err != nil {
		return nil, err
	}
	defer z.readers.Put(r)
	msg, err := io.ReadAll(io.LimitReader(r, int64(z.max)+1))
	switch {
	case err != nil:
		return nil, err
	case len(msg) > z.max:
		return nil, tooLarge("zlib", z.max)
	case src.Len() > 0:
		return nil, fmt.Errorf("%d bytes after the compressed message", src.Len())
	}
	return msg, nil
}

func (z *deflater) deflate(msg []byte) ([]byte, error) {
	if err := fits("zlib", len(msg), z.max); err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w, ok := z.writers.Get().(*zlib.Writer)
	if ok {
		w.Reset(&buf)
	} else {
		w, _ = zlib.NewWriterLevel(&buf, z.level) // the level has been checked
	}
	defer z.writers.Put(w)
	_, err := w.Write(msg)
	err = errors.Join(err, w.Close())
	return buf.Bytes(), err
}
