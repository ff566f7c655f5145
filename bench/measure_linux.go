package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hythe-go/hythe/bench/internal/child"
)

// measure runs a load: round after round, each with one slice of every server,
// and each beginning with another one. What cannot run here is left out, and so
// is a peer that fails.
func (b *bench) measure(l *load) (_ *results, err error) {
	rounds := b.rounds
	if l.few {
		rounds = min(rounds, 3)
	}
	t := l.topic
	t.servers = nil
	r := &results{topic: &t, rounds: make([]map[string]sample, rounds)}
	for _, name := range b.serversOf(l) {
		if has := b.provide(name); has.err != nil {
			r.leaveOut(name, has.err)
			continue
		}
		t.servers = append(t.servers, name)
	}
	running := make(map[string]*server)
	defer func() {
		for _, s := range running {
			err = errors.Join(err, s.stop())
		}
	}()
	if !l.fresh {
		for _, name := range t.servers {
			s, err := b.startServer(name, l.serve)
			if err != nil && slices.Contains(peers, name) && b.ctx.Err() == nil {
				r.leaveOut(name, err)
				continue
			}
			if err != nil {
				return nil, err
			}
			running[name] = s
			if err := b.profile(s, l); err != nil {
				return nil, err
			}
		}
	}
	for round := range rounds {
		r.rounds[round] = make(map[string]sample)
		for i := range t.servers {
			name := t.servers[(round+i)%len(t.servers)]
			if r.left[name] != nil {
				continue
			}
			b.progress("%s: round %d of %d: %s", l.name, round+1, rounds, name)
			one, err := b.once(l, name, running[name])
			switch {
			case err == nil:
				r.rounds[round][name] = one
			case slices.Contains(peers, name) && b.ctx.Err() == nil:
				r.leaveOut(name, err)
			default:
				return nil, fmt.Errorf("%s: %s: %w", l.name, name, err)
			}
		}
	}
	for _, s := range running {
		if b.profiles != "" {
			if _, err := s.ask(child.EndProfile); err != nil {
				return nil, err
			}
		}
	}
	if l.notes != nil {
		r.notes = l.notes(r)
	}
	return r, nil
}

// serversOf are the servers of a load, in the order of its table.
func (b *bench) serversOf(l *load) []string {
	if !b.peers {
		return l.servers
	}
	return slices.Concat(l.servers, l.peers)
}

// once measures a server once: the running one, or a fresh one if there is
// none.
func (b *bench) once(l *load, name string, s *server) (sample, error) {
	if s != nil {
		return l.slice(b, s)
	}
	o := l.serve
	if n := min(b.idle, mostIdle()) + spareDescriptors/2; l.name == "idle" && n > descriptors()/8*7 {
		o.Conns = n // more than hythe takes by default
	}
	s, err := b.startServer(name, o)
	if err != nil {
		return nil, err
	}
	one, err := l.slice(b, s)
	return one, errors.Join(err, s.stop())
}

// profile has the server write a CPU profile, if that is asked for.
func (b *bench) profile(s *server, l *load) error {
	if b.profiles == "" {
		return nil
	}
	name := l.name + "-" + strings.NewReplacer(" ", "-", "/", "-").Replace(s.name) + ".prof"
	_, err := s.ask(child.Profile, filepath.Join(b.profiles, name))
	return err
}
