package hythe

import (
	"context"
	"errors"
	"net"
)

// Attach gives the server a connection that none of its listeners accepted: one
// that was dialled, say, or inherited. svc says what is done with it; nil means
// Service. It is admitted, counted, bounded, driven and drained like every
// other; TLS and PreConnect are not applied to it. Its first turn may be running
// when Attach returns.
//
// A server that has only such connections needs no Serve: the first Attach
// begins it, and Drain or Close ends it.
//
// Attach returns ErrFull when there is no room, and ErrServerClosed once Drain
// or Close has begun. After an error nc has been closed.
func (s *Server) Attach(nc net.Conn, svc Service) (*Stream, error) {
	s.init()
	c, err := s.attach(nc, svc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

func (s *Server) attach(nc net.Conn, svc Service) (*Stream, error) {
	if svc == nil {
		svc = s.Service
	}
	if svc == nil {
		return nil, errors.New("hythe: Attach: there is no Service")
	}
	if err := errors.Join(validateService(svc), s.Limits.validate()); err != nil {
		return nil, err
	}
	if err := s.beginAttached(nc); err != nil {
		return nil, err
	}
	if !s.makeRoom() {
		return nil, ErrFull
	}
	peer := addrPort(nc.RemoteAddr())
	if !s.admit.enterIP(peer.Addr()) {
		s.admit.leave()
		return nil, ErrFull
	}
	c := s.newStream(peer, incoming{nc: nc}, true)
	c.status |= sAdmitted
	c.needRare().service = svc
	if !s.register(c) {
		c.cut(Drained, nil)
		c.bury()
		return nil, ErrServerClosed
	}
	s.observe(Event{Kind: ConnAccepted, Conn: c})
	s.drive(c, evOpen)
	return c, nil
}

// beginAttached has the server serve, with what nc needs.
func (s *Server) beginAttached(nc net.Conn) error {
	if err := s.begin(context.Background(), nil); err != nil && err != ErrServing {
		return err
	}
	if _, ok := (incoming{nc: nc}).descriptor(); !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateServing {
		return ErrServerClosed // and the loops may be gone
	}
	return s.needLoops()
}
