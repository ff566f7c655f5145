package hythe

import (
	"errors"
	"fmt"
	"time"
)

// Limits bounds what the connections of a server may take. In each field zero
// means the default and a negative number no limit.
type Limits struct {
	// Conns is how many connections there may be at once, those included that
	// are still shaking hands or lingering. It is exact. The default is seven
	// eighths of the process's descriptor limit.
	Conns int

	// ConnsPerIP is how many there may be from one IPv4 address or one IPv6
	// /64. It is exact. One more is refused. The default is Conns, since many
	// clients may share one proxy's address.
	ConnsPerIP int

	// Handshakes is how many connections may be in PreConnect or in a TLS
	// handshake at once. One more ends the oldest of them. The default is 1,000.
	Handshakes int

	// FrameBytes is how much unfinished input is kept for a connection. The
	// default is 1 MiB. Codecs have limits of their own, which are usually
	// lower; for frames above 1 MiB raise both.
	FrameBytes int

	// HighWater and LowWater are the marks of the output queue, in bytes. Send
	// waits, and TrySend refuses, from the moment it holds HighWater until it
	// is down to LowWater, which must be the lower one. One message may go past
	// the mark. The defaults are 256 KiB and a quarter of HighWater. No queue
	// grows beyond 1 GiB.
	HighWater, LowWater int

	// Events is how many posted events may wait for a connection. The default
	// is 1,024.
	Events int

	// Memory is how many bytes all connections together may hold in output
	// queues and unfinished input. Past it a connection gets no more than 4 KiB
	// of output queue, and one with a larger unfinished frame ends. The default
	// is 256 MiB.
	Memory int64
}

// Timeouts are the clocks of a server's connections. In each field zero means
// the default and a negative duration no limit. Clocks are coarse: they run out
// up to a tenth of a second late.
type Timeouts struct {
	// Handshake bounds PreConnect, and after it the TLS handshake: 10 s.
	Handshake time.Duration

	// FirstInput bounds the wait for a connection's first complete frame: 30 s.
	FirstInput time.Duration

	// Frame bounds the time from a frame's first byte to its last: 60 s.
	Frame time.Duration

	// Idle ends a connection on which no byte was received and none taken by
	// the peer's side: 5 min. A connection whose hook is running, or that is
	// held, is not idle.
	Idle time.Duration

	// WriteStall ends a connection when output waits and the kernel takes none
	// of it: 30 s. A slow peer lives as long as it goes on reading: on Linux one
	// that takes something in each half of that time, even if the kernel's buffer
	// is so large that it shows no room meanwhile.
	WriteStall time.Duration

	// Lifetime ends a connection at that age, after flushing its output: 24 h.
	Lifetime time.Duration

	// Linger is how long, after everything was sent, the peer is given to
	// finish as well, so that what was sent is not destroyed: 2 s. What it goes
	// on sending is discarded, and each MiB of it shortens the time by 34 ms.
	// Negative: no time at all.
	Linger time.Duration

	// Drain is how long Serve lets connections finish once its context is
	// cancelled: 15 s.
	Drain time.Duration
}

const unlimited = int(^uint(0) >> 1)

// withDefaults returns the limits with every number filled in.
func (l Limits) withDefaults() Limits {
	fill := func(v *int, def int) {
		switch {
		case *v == 0:
			*v = def
		case *v < 0:
			*v = unlimited
		}
	}
	fill(&l.Conns, max(16, descriptorLimit()/8*7))
	fill(&l.ConnsPerIP, l.Conns)
	fill(&l.Handshakes, 1000)
	fill(&l.FrameBytes, 1<<20)
	fill(&l.HighWater, 256<<10)
	l.HighWater = min(l.HighWater, 1<<30)
	fill(&l.LowWater, l.HighWater/4)
	fill(&l.Events, 1024)
	if l.Memory == 0 {
		l.Memory = 256 << 20
	} else if l.Memory < 0 {
		l.Memory = 1<<63 - 1
	}
	return l
}

func (l Limits) validate() (err error) {
	f := l.withDefaults()
	if f.LowWater >= f.HighWater {
		err = fmt.Errorf("hythe: Limits.LowWater (%d) is not below HighWater (%d)", f.LowWater, f.HighWater)
	}
	return err
}

// never stands for a clock that is off.
const never = time.Duration(1<<63 - 1)

func (t Timeouts) withDefaults() Timeouts {
	fill := func(v *time.Duration, def time.Duration) {
		switch {
		case *v == 0:
			*v = def
		case *v < 0:
			*v = never
		}
	}
	fill(&t.Handshake, 10*time.Second)
	fill(&t.FirstInput, 30*time.Second)
	fill(&t.Frame, time.Minute)
	fill(&t.Idle, 5*time.Minute)
	fill(&t.WriteStall, 30*time.Second)
	fill(&t.Lifetime, 24*time.Hour)
	fill(&t.Linger, 2*time.Second)
	fill(&t.Drain, 15*time.Second)
	return t
}

// settings are the numbers in force; replaced as a whole.
type settings struct {
	Limits
	Timeouts
}

func (s *Server) validate() error {
	var errs []error
	if s.Service == nil {
		errs = append(errs, errors.New("hythe: Server.Service is nil"))
	}
	errs = append(errs, validateService(s.Service), s.Limits.validate())
	return errors.Join(errs...)
}

func validateService(svc Service) error {
	if v, ok := svc.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return fmt.Errorf("hythe: Server.Service: %w", err)
		}
	}
	return nil
}
