package codec

import "errors"

// Pair returns the codec that decodes as in does and encodes as out does.
func Pair[In, Out, unusedOut, unusedIn any](in Codec[In, unusedOut], out Codec[unusedIn, Out]) Codec[In, Out] {
	if err := errors.Join(needCodec("Pair: in", in), needCodec("Pair: out", out)); err != nil {
		return invalid[In, Out]{err}
	}
	return perConn(Stateful(in) || Stateful(out), func() Codec[In, Out] {
		return &pair[In, Out]{ForConn(in), ForConn(out)}
	})
}

type pair[In, Out any] struct {
	Decoder[In]
	Encoder[Out]
}

func (p *pair[In, Out]) Validate() error {
	return errors.Join(validate(p.Decoder), validate(p.Encoder))
}
