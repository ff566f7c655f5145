package codec

import "errors"

// Map returns c with its messages transformed: those received by in, those sent by out. An error of in is malformed
// input and an error of out a message that cannot be sent; they are found in the [*DecodeError] or [*EncodeError]
// returned. Where c borrows, in is given borrowed messages. in and out must be safe for concurrent use.
func Map[In, Out, In2, Out2 any](c Codec[In, Out], in func(In) (In2, error), out func(Out2) (Out, error)) Codec[In2, Out2] {
	return mapNamed("map", c, in, out)
}

// mapNamed is Map with the name that errors have.
func mapNamed[In, Out, In2, Out2 any](name string, c Codec[In, Out], in func(In) (In2, error), out func(Out2) (Out, error)) Codec[In2, Out2] {
	err := needCodec(name, c)
	if in == nil || out == nil {
		err = errors.Join(err, errors.New("codec: "+name+": a function is nil"))
	}
	if err != nil {
		return invalid[In2, Out2]{err}
	}
	return perConn(Stateful(c), func() Codec[In2, Out2] {
		return &mapped[In, Out, In2, Out2]{name, ForConn(c), in, out}
	})
}

type mapped[In, Out, In2, Out2 any] struct {
	name  string
	codec Codec[In, Out]
	in    func(In) (In2, error)
	out   func(Out2) (Out, error)
}

func (m *mapped[In, Out, In2, Out2]) Decode(src []byte, eof bool) (n int, to In2, err error) {
	n, from, err := m.codec.Decode(src, eof)
	if err != nil {
		return n, to, err
	}
	to, err = m.in(from)
	if err != nil {
		var none In2
		return 0, none, malformed(m.name, 0, err)
	}
	return n, to, nil
}

func (m *mapped[In, Out, In2, Out2]) Append(dst []byte, from Out2) ([]byte, error) {
	to, err := m.out(from)
	if err != nil {
		return dst, unencodable(m.name, err)
	}
	return m.codec.Append(dst, to)
}

func (m *mapped[In, Out, In2, Out2]) Validate() error { return validate(m.codec) }
