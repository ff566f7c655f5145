package hythe

// A Service says what is done with connections. It is the waist of the toolkit:
// typed sessions, conversations, FastCGI and HTTP all stand on it.
//
// Open is called once for each connection that was admitted, when it is ready
// to be used, and returns the Protocol that is called from then on. An error
// ends the connection; what was written before is still delivered. Open is the
// connection's first turn, and like every turn may block. It may be called for
// many connections at once.
//
// There are two ways to stand here: be called in turns with the bytes that
// came, as a Protocol, or call [Stream.Take] and use the connection as a
// net.Conn, giving it back whenever it is idle.
//
// A Service may also have a method Validate() error, which is called before the
// server begins to serve. What it returns keeps the server from it.
type Service interface {
	Open(s *Stream) (Protocol, error)
}

// ServiceFunc makes a function a Service.
type ServiceFunc func(s *Stream) (Protocol, error)

// Open calls f.
func (f ServiceFunc) Open(s *Stream) (Protocol, error) { return f(s) }

// A Protocol is what a Service makes of one connection. Its methods are called
// in turns, which never overlap; no lock is held. A method may block, which
// stops this connection's turns and no other's. A panic ends the connection.
//
// Input is given the bytes that have come and were not used before, and
// returns how many of them it has used. The rest is offered again, with more
// behind it. eof says that nothing more will come; the last call has eof set,
// and src may then be empty. src is the protocol's to read until Input
// returns. An error ends the connection: with the reason FrameTooLarge or
// Truncated if it matches codec.ErrFrameTooLarge or io.ErrUnexpectedEOF, with
// BadFrame if it was marked with [BadInput] or is a [*codec.DecodeError],
// otherwise, and for a [*codec.EncodeError], with Failed. Output written before is
// still delivered.
//
// Input must stop early, leaving bytes unused, when Stream.Yield says so.
//
// A Protocol may also have these methods, which are looked for once:
//
//	Flushed()                the kernel has taken all output
//	HighWater(), LowWater()  the output queue crossed its marks
//	Posted(event any) error  somebody called Stream.Post
//	Draining()               the server drains
//	Closed(reason error)     the last call, a *CloseError
type Protocol interface {
	Input(src []byte, eof bool) (n int, err error)
}

type (
	flushedHook  interface{ Flushed() }
	highHook     interface{ HighWater() }
	lowHook      interface{ LowWater() }
	postedHook   interface{ Posted(event any) error }
	drainingHook interface{ Draining() }
	closedHook   interface{ Closed(reason error) }
)

// hookSet says which optional methods a Protocol has.
type hookSet uint32

const (
	hasFlushed hookSet = 1 << iota
	hasHighWater
	hasLowWater
	hasPosted
	hasDraining
	hasClosed
	hasOpened // Open has returned
	hasReader // not a method: input comes by a netDriver's reader
)

// hooked is implemented by the package's own protocols, which have all the
// methods and know which of them lead somewhere.
type hooked interface{ hooks() hookSet }

func hooksOf(p Protocol) (h hookSet) {
	if p, ok := p.(hooked); ok {
		return p.hooks()
	}
	if _, ok := p.(flushedHook); ok {
		h |= hasFlushed
	}
	if _, ok := p.(highHook); ok {
		h |= hasHighWater
	}
	if _, ok := p.(lowHook); ok {
		h |= hasLowWater
	}
	if _, ok := p.(postedHook); ok {
		h |= hasPosted
	}
	if _, ok := p.(drainingHook); ok {
		h |= hasDraining
	}
	if _, ok := p.(closedHook); ok {
		h |= hasClosed
	}
	return h
}
