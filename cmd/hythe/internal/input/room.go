package input

import (
	"sync"

	"github.com/hythe-go/hythe"
)

// maxInFlight is how many bytes of one input may be on their way to the disk, or
// wait for room there, before its connections are read no more.
const maxInFlight = 4 << 20

// A room bounds what is on its way to the disk. When it is full no connection is
// read, so that their bytes wait at the senders, until half of it is free.
type room struct {
	mu      sync.Mutex
	taken   int                        // guarded by mu
	full    bool                       // guarded by mu
	reading map[*hythe.Stream]struct{} // those with nothing on its way; paused while full. Guarded by mu
}

// join has st's input come, or go on, as soon as there is room.
func (r *room) join(st *hythe.Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reading == nil {
		r.reading = make(map[*hythe.Stream]struct{})
	}
	r.reading[st] = struct{}{}
	if r.full {
		st.PauseInput()
	} else {
		st.ResumeInput()
	}
}

// leave pauses st's input until join.
func (r *room) leave(st *hythe.Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.reading, st)
	st.PauseInput()
}

// enter takes n bytes, and reports whether there was room for any. If there was
// not, st's input is paused until there is.
func (r *room) enter(st *hythe.Stream, n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full {
		st.PauseInput()
		return false
	}
	if r.taken += n; r.taken >= maxInFlight {
		r.full = true
		for all := range r.reading {
			all.PauseInput()
		}
	}
	return true
}

// give gives n bytes back.
func (r *room) give(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken -= n
	if r.full && r.taken <= maxInFlight/2 {
		r.full = false
		for st := range r.reading {
			st.ResumeInput()
		}
	}
}
