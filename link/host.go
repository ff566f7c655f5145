package link

import (
	"context"
	"sync"

	"github.com/hythe-go/hythe"
)

// A host has the server that carries the typed connections of a group, or of a
// link without one. It is made when the first of them is.
type host struct {
	mu     sync.Mutex
	srv    *hythe.Server
	closed bool
}

// server returns the server; given, if it is not nil, is to be it.
func (h *host) server(given *hythe.Server) (*hythe.Server, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, ErrClosed
	case h.srv != nil:
	case given != nil:
		h.srv = given
	default:
		h.srv = &hythe.Server{
			Limits:   hythe.Limits{Conns: -1, ConnsPerIP: -1},
			Timeouts: hythe.Timeouts{FirstInput: -1, Idle: -1, Lifetime: -1},
		}
	}
	return h.srv, nil
}

// close closes the server and whatever it carries.
func (h *host) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.srv != nil {
		h.srv.Close()
	}
}

// wait waits until a closed server has stopped.
func (h *host) wait() {
	h.mu.Lock()
	srv := h.srv
	h.mu.Unlock()
	if srv != nil {
		srv.Drain(context.Background()) // it is closed: this only waits
	}
}

// host returns the server that carries the typed connections.
func (l *Link[C]) host() (*hythe.Server, error) {
	if l.Group != nil {
		return l.Group.own.server(l.Group.Server)
	}
	return l.own.server(nil)
}
