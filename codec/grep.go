package codec

// Grep returns c with the messages left out for which a predicate is false: in is asked about those received, out about
// those sent, and nil keeps all. What is left out on the way in is used up, and on the way out nothing is appended.
// Predicates must be safe for concurrent use and keep no borrowed message.
func Grep[In, Out any](c Codec[In, Out], in func(In) bool, out func(Out) bool) Codec[In, Out] {
	if err := needCodec("Grep", c); err != nil {
		return invalid[In, Out]{err}
	}
	return perConn(Stateful(c), func() Codec[In, Out] { return &grep[In, Out]{ForConn(c), in, out} })
}

type grep[In, Out any] struct {
	codec Codec[In, Out]
	in    func(In) bool
	out   func(Out) bool
}

func (g *grep[In, Out]) Decode(src []byte, eof bool) (n int, msg In, err error) {
	for {
		used, msg, err := g.codec.Decode(src[n:], eof)
		n += used
		if err != nil || g.in == nil || g.in(msg) {
			return n, msg, err
		}
	}
}

func (g *grep[In, Out]) Append(dst []byte, msg Out) ([]byte, error) {
	if g.out != nil && !g.out(msg) {
		return dst, nil
	}
	return g.codec.Append(dst, msg)
}

func (g *grep[In, Out]) Validate() error { return validate(g.codec) }
