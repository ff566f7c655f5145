package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
)

// The first descriptor passed by a service manager, see sd_listen_fds(3).
const firstPassedFD = 3

// The environment by which descriptors are announced.
const (
	envPID   = "LISTEN_PID"
	envFDs   = "LISTEN_FDS"
	envNames = "LISTEN_FDNAMES"
)

// A passedFD is a descriptor that the process was started with.
type passedFD struct {
	fd   int
	name string // "unknown" if it was given none
}

// passedFDs reads the announcement in the environment. LISTEN_PID naming another
// process means that the announcement is not for us, but was left in the
// environment by some ancestor. A LISTEN_PID that is empty is that of [Export],
// who cannot know the number of a process to come; the descriptors themselves
// are checked in any case.
func passedFDs(getenv func(string) string, pid int) ([]passedFD, error) {
	if s := getenv(envPID); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("%s=%q is not the number of a process", envPID, s)
		}
		if n != pid {
			return nil, fmt.Errorf("%s=%d: the descriptors are for another process than this one, %d", envPID, n, pid)
		}
	}
	s := getenv(envFDs)
	if s == "" {
		return nil, fmt.Errorf("no descriptors were passed (%s is not set)", envFDs)
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%s=%q is not a number of descriptors", envFDs, s)
	}
	fds := make([]passedFD, n)
	for i := range fds {
		fds[i] = passedFD{firstPassedFD + i, "unknown"}
	}
	if s := getenv(envNames); s != "" {
		names := strings.Split(s, ":")
		if len(names) != len(fds) {
			return nil, fmt.Errorf("%s has %d names for %d descriptors", envNames, len(names), len(fds))
		}
		for i, name := range names {
			if name != "" {
				fds[i].name = name
			}
		}
	}
	return fds, nil
}

// passedOnce reads the announcement once for a call of Listen.
func (b *binder) passedOnce() ([]passedFD, error) {
	if !b.havePass {
		b.havePass = true
		b.passed, b.passedErr = passedFDs(b.cfg.getenv(), os.Getpid())
	}
	return b.passed, b.passedErr
}

// inheritEndpoint takes over what Export passed on for e; nil if nothing was.
// The successor stands in for its predecessor altogether: it binds again what
// dies, and removes the path of a Unix socket when it closes.
func (b *binder) inheritEndpoint(e Endpoint) ([]*Listener, error) {
	fds, err := b.passedOnce()
	if err != nil {
		return nil, nil // nothing is passed on at a first start
	}
	ls, err := b.inheritAll(e, fds, passedName(e))
	for _, l := range ls {
		switch {
		case e.tcp():
			a := tcpAddr{AddrPort: l.Addr().(*net.TCPAddr).AddrPort()}
			a.dual = a.Addr().Is6() && (e.V6Only == Off || e.V6Only == Default && e.Scheme == SchemeTCP && e.Host == "")
			l.rebindTCP(a)
		case e.Scheme == SchemeUnix:
			l.unlinkOnClose = true
			l.rebindUnix()
		}
	}
	return ls, err
}

// inheritNamed takes over the descriptors of a systemd endpoint.
func (b *binder) inheritNamed(e Endpoint) ([]*Listener, error) {
	fds, err := b.passedOnce()
	if err != nil {
		return nil, b.cfg.failed(&Error{Op: "inherit", Endpoint: e, Err: err})
	}
	ls, err := b.inheritAll(e, fds, e.Name)
	if len(ls) == 0 && err == nil {
		var names []string
		for _, p := range fds {
			names = append(names, strconv.Quote(p.name))
		}
		err = b.cfg.failed(&Error{Op: "inherit", Endpoint: e,
			Err: fmt.Errorf("no descriptor has that name; there are: %s", strings.Join(names, ", "))})
	}
	return ls, err
}

// inheritAll takes over the descriptors with that name; with the empty name, all.
func (b *binder) inheritAll(e Endpoint, fds []passedFD, name string) ([]*Listener, error) {
	var ls []*Listener
	var errs []error
	for _, p := range fds {
		if p.name != name && name != "" {
			continue
		}
		l, err := b.inherit(e, p.fd)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ls = append(ls, l)
	}
	if err := errors.Join(errs...); err != nil {
		closeAll(ls)
		return nil, err
	}
	return ls, nil
}

// inherit returns a listener on a duplicate of fd. The descriptor itself is
// released by takeInherited, when nothing can fail any more.
func (b *binder) inherit(e Endpoint, fd int) (*Listener, error) {
	if slices.Contains(b.taken, fd) {
		return nil, b.cfg.failed(&Error{Op: "inherit", Endpoint: e,
			Err: &DescriptorError{FD: fd, Problem: "is taken by another endpoint"}})
	}
	ln, err := adopt(fd)
	if err != nil {
		return nil, b.cfg.failed(&Error{Op: "inherit", Endpoint: e, Err: err})
	}
	b.taken = append(b.taken, fd)
	s := socket{ln: ln}
	if ua, ok := ln.Addr().(*net.UnixAddr); ok && ua.Name != "" && ua.Name[0] != '@' {
		s.unlink = unlinker(ua.Name)
	}
	l := newListener(b.cfg, e, s)
	l.unlinkOnClose = false // its maker's business, unless we are told otherwise
	return l, nil
}

// takeInherited closes the descriptors that now live on as duplicates.
func (b *binder) takeInherited() {
	for _, fd := range b.taken {
		releaseFD(fd)
	}
	if b.cfg.UnsetEnv && len(b.taken) > 0 {
		for _, name := range []string{envPID, envFDs, envNames} {
			os.Unsetenv(name)
		}
	}
}
