package codec

// PerConn is implemented by codecs that keep state for one connection. Whoever owns the connections calls it once for
// each and uses the result for that connection alone; [ForConn] does so. Calls of Decode on the result do not overlap,
// and neither do calls of Append, but a Decode and an Append may run at the same time: a codec that shares state between
// the two guards it.
type PerConn[In, Out any] interface {
	// PerConn returns a codec with the same settings and empty state. It is safe for concurrent use.
	PerConn() Codec[In, Out]
}

// ForConn returns the codec to use for one connection: c.PerConn() if c implements [PerConn], otherwise c itself.
func ForConn[In, Out any](c Codec[In, Out]) Codec[In, Out] {
	if c, ok := c.(PerConn[In, Out]); ok {
		return c.PerConn()
	}
	return c
}

// Stateful reports whether c implements [PerConn], so that connections cannot share it. Combinators have state if what
// they combine has.
func Stateful[In, Out any](c Codec[In, Out]) bool {
	_, ok := c.(PerConn[In, Out])
	return ok
}

// perConn returns build(), with a PerConn method that builds another if the codec is stateful.
func perConn[In, Out any](stateful bool, build func() Codec[In, Out]) Codec[In, Out] {
	if !stateful {
		return build()
	}
	return &builder[In, Out]{build(), build}
}

type builder[In, Out any] struct {
	Codec[In, Out] // for who uses the codec without PerConn, for one stream
	build          func() Codec[In, Out]
}

func (b *builder[In, Out]) PerConn() Codec[In, Out] { return b.build() }

func (b *builder[In, Out]) Validate() error { return validate(b.Codec) }
