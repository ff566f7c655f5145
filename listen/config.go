package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"
)

// A Config says how endpoints become listeners. The zero value works, and a nil
// *Config is the zero value. Listen copies it: later changes do not reach the
// listeners it returned.
//
// The hooks are called from the goroutine that calls Listen, Accept, AcceptFD
// or Close, OnAcceptEvent also from a timer's; never under a lock, and possibly
// from several goroutines at once.
type Config struct {
	// Bind is the policy of endpoints that have none of their own. It concerns
	// the addresses of one endpoint; every endpoint must yield a listener.
	// Zero means BindAll.
	Bind BindPolicy

	// Resolver looks up host and service names; nil means net.DefaultResolver.
	Resolver *net.Resolver

	// Mem makes the listeners of mem: endpoints; nil means they are refused.
	Mem interface {
		Listen(name string) (net.Listener, error)
	}

	// Inherit makes Listen look first among the descriptors a predecessor
	// passed with [Export]: an endpoint found there, by its String, is taken
	// over instead of being bound. Those not found are bound as usual.
	Inherit bool

	// Getenv reads LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES; nil means os.Getenv.
	Getenv func(string) string

	// UnsetEnv removes those three from the environment of the process after
	// Listen has taken descriptors over, so that children do not see them.
	UnsetEnv bool

	// OnAttempt, if not nil, is told of every step that failed, also when a
	// later address works, and of a backlog that the system lowered.
	OnAttempt func(*Error)

	// OnAcceptEvent, if not nil, is told when accepting is in trouble and when
	// it is well again.
	OnAcceptEvent func(AcceptEvent)

	// Logger, if not nil, gets one line for each call of the two hooks,
	// whether they are set or not.
	Logger *slog.Logger

	// A listener that dies is bound again to the address it had. RebindTries is
	// how often in a row: zero means 5, negative means never. RebindBackoff is
	// the wait before the second try, doubled for each further one, at most 5 s;
	// zero means 100 ms. RebindHealthy is how long a listener must have lived
	// for its tries to be counted from zero again; zero means 1 min.
	RebindTries   int
	RebindBackoff time.Duration
	RebindHealthy time.Duration

	// fault stands in for system calls in tests: an error it returns is taken
	// for the call's own.
	fault func(op string, addr net.Addr) error
}

const maxRebindBackoff = 5 * time.Second

func (c *Config) resolver() *net.Resolver {
	if c.Resolver != nil {
		return c.Resolver
	}
	return net.DefaultResolver
}

func (c *Config) getenv() func(string) string {
	if c.Getenv != nil {
		return c.Getenv
	}
	return os.Getenv
}

func (c *Config) rebindTries() int {
	if c.RebindTries != 0 {
		return max(c.RebindTries, 0)
	}
	return 5
}

func (c *Config) rebindBackoff() time.Duration {
	if c.RebindBackoff != 0 {
		return max(c.RebindBackoff, 0)
	}
	return 100 * time.Millisecond
}

func (c *Config) rebindHealthy() time.Duration {
	if c.RebindHealthy != 0 {
		return max(c.RebindHealthy, 0)
	}
	return time.Minute
}

func (c *Config) policy(e Endpoint) BindPolicy {
	switch {
	case e.Bind != BindDefault:
		return e.Bind
	case c.Bind != BindDefault:
		return c.Bind
	}
	return BindAll
}

// failed reports a failed step and returns it as the error it is.
func (c *Config) failed(e *Error) error {
	if c.OnAttempt != nil {
		c.OnAttempt(e)
	}
	if c.Logger != nil {
		c.Logger.LogAttrs(context.Background(), slog.LevelWarn, "listen: step failed",
			slog.String("endpoint", e.Endpoint.String()), slog.String("op", e.Op),
			slog.Any("addr", e.Addr), slog.Any("err", e.Err))
	}
	return e
}

// call runs one system call of a bind, or the fault that stands in for it.
func (c *Config) call(e Endpoint, addr net.Addr, op, syscall string, f func() error) error {
	var err error
	if c.fault != nil {
		err = c.fault(op, addr)
	}
	if err == nil {
		err = f()
	}
	if err == nil {
		return nil
	}
	return c.failed(&Error{Op: op, Endpoint: e, Addr: addr, Err: os.NewSyscallError(syscall, err)})
}

// Listen is [Config.Listen] with the zero Config.
func Listen(ctx context.Context, endpoints ...string) ([]*Listener, error) {
	return new(Config).Listen(ctx, endpoints...)
}

// Listen parses the endpoints and returns a listener for each of their
// addresses, in the order given. If any endpoint fails, everything opened is
// closed again, descriptors that were to be inherited are left as they were, and
// the error tells all that went wrong: every [*EndpointError] if some endpoints
// do not parse, otherwise every [*Error] that mattered, each holding an
// [*os.SyscallError], a [*net.DNSError] or a [*DescriptorError].
//
// A host name yields a listener for each address it resolves to. Without a host,
// tcp yields one listener on [::] that takes IPv4 too, or two where the system
// has no such sockets or v6only=yes is given. A socket on an IPv6 address that
// was asked for takes IPv4 only with v6only=no.
//
// Port 0 is a free port of the kernel's choice, the same for all addresses of
// the endpoint (it is searched for up to ten times). The listener's Addr tells
// which, at once.
//
// ctx bounds resolving and waiting for locks, not the life of the listeners.
func (c *Config) Listen(ctx context.Context, endpoints ...string) ([]*Listener, error) {
	var errs []error
	parsed := make([]Endpoint, len(endpoints))
	for i, s := range endpoints {
		var err error
		parsed[i], err = Parse(s)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c.ListenEndpoints(ctx, parsed...)
}

// ListenEndpoints is [Config.Listen] for endpoints that are values already.
func (c *Config) ListenEndpoints(ctx context.Context, endpoints ...Endpoint) ([]*Listener, error) {
	if len(endpoints) == 0 {
		return nil, errors.New("hythe: listen: no endpoint given")
	}
	var errs []error
	for _, e := range endpoints {
		errs = append(errs, e.Validate())
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("hythe: listen: %w", err)
	}
	var b binder
	if c != nil {
		b.cfg = *c
	}
	var ls []*Listener
	for _, e := range endpoints {
		got, err := b.listen(ctx, e)
		ls = append(ls, got...)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		closeAll(ls)
		return nil, fmt.Errorf("hythe: listen: %w", err)
	}
	b.takeInherited()
	return ls, nil
}

func closeAll(ls []*Listener) {
	for _, l := range ls {
		l.Close() // its error would hide why we close
	}
}
