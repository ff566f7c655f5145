package hythe

import (
	"context"
	"log/slog"
	"net"
)

// An Event tells a Server's Observer what happened.
type Event struct {
	Kind   EventKind
	Conn   *Stream  // nil for a listener's event
	Addr   net.Addr // the listener's, for its events
	Reason Reason   // of ConnEnded
	Err    error    // what lies behind it, if anything
}

// EventKind is what happened.
type EventKind uint8

const (
	ConnAccepted   EventKind = iota + 1 // a connection was admitted
	ConnEnded                           // a connection ended
	ConnRefused                         // there was no room for a connection; ConnEnded follows
	TurnLate                            // a hook has been running for a millisecond or two
	HookPanicked                        // Disconnected or an OnClose function panicked
	ListenerFailed                      // a listener gave up
)

func (k EventKind) String() string {
	return [...]string{"?", "accepted", "ended", "refused", "turn late", "hook panicked", "listener failed"}[min(int(k), 6)]
}

// observe tells the Observer and the Logger.
func (s *Server) observe(ev Event) {
	if ev.Kind == TurnLate {
		s.late.Add(1)
	}
	if s.Observer != nil {
		s.Observer(ev)
	}
	if s.Logger == nil {
		return
	}
	level := slog.LevelDebug
	switch ev.Kind {
	case ConnAccepted, ConnRefused:
	case ListenerFailed, HookPanicked:
		level = slog.LevelWarn
	case ConnEnded:
		if ev.Reason == Panicked || ev.Reason == DrainTimeout {
			level = slog.LevelWarn
		}
	default:
		return
	}
	if !s.Logger.Enabled(context.Background(), level) {
		return
	}
	var attrs []slog.Attr
	if ev.Conn != nil {
		attrs = append(attrs, slog.Uint64("conn", ev.Conn.id), slog.Any("remote", ev.Conn.RemoteAddr()))
	}
	if ev.Addr != nil {
		attrs = append(attrs, slog.Any("addr", ev.Addr))
	}
	if ev.Reason != 0 {
		attrs = append(attrs, slog.String("reason", ev.Reason.String()))
	}
	if ev.Err != nil {
		attrs = append(attrs, slog.Any("err", ev.Err))
		if p, ok := ev.Err.(*PanicError); ok {
			attrs = append(attrs, slog.String("stack", string(p.Stack)))
		}
	}
	s.Logger.LogAttrs(context.Background(), level, ev.Kind.String(), attrs...)
}
