package main

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// What a server needs to run: this program or the one with the peers, and for
// some a program of their own.
type provided struct {
	self, program string
	err           error // why it cannot run
}

// provide finds or builds what the named server needs.
func (b *bench) provide(name string) provided {
	if p, ok := b.provisions[name]; ok {
		return p
	}
	var p provided
	p.self, p.err = os.Executable()
	if p.err == nil {
		switch name {
		case gnetServer, netpollServer, nbioServer, fasthttpServer:
			p.self, p.err = b.build("bench/peers")
		case relayServer:
			p.program, p.err = b.build("cmd/hythe")
		case libfcgiServer:
			p.program, p.err = b.compile()
		case phpServer:
			p.program, p.err = installed("php-fpm", "/usr/sbin/php-fpm[0-9]*")
		case rsyslogSynced, rsyslogDisk, rsyslogInMemory:
			p.program, p.err = installed("rsyslogd", "/usr/sbin/rsyslogd")
		}
	}
	b.provisions[name] = p
	return p
}

// build builds a command of this repository.
func (b *bench) build(pkg string) (string, error) {
	to := filepath.Join(b.dir, filepath.Base(pkg))
	if _, err := os.Stat(to); err == nil {
		return to, nil
	}
	b.progress("building %s", pkg)
	return to, output(exec.CommandContext(b.ctx, "go", "build", "-o", to, "github.com/hythe-go/hythe/"+pkg))
}

// compile compiles the FastCGI application in C.
func (b *bench) compile() (string, error) {
	source, to := filepath.Join(b.dir, "libfcgi.c"), filepath.Join(b.dir, "libfcgi")
	if err := os.WriteFile(source, libfcgiSource, 0o600); err != nil {
		return "", err
	}
	if err := output(exec.CommandContext(b.ctx, "cc", "-O2", "-o", to, source, "-lfcgi", "-lpthread")); err != nil {
		return "", fmt.Errorf("it needs a C compiler and libfcgi-dev: %w", err)
	}
	return to, nil
}

// output runs a command, and puts what it says into the error.
func output(cmd *exec.Cmd) error {
	text, err := cmd.CombinedOutput()
	if err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		return fmt.Errorf("%s: %w: %s", cmd.Args[0], err, line)
	}
	return nil
}

// installed finds a program by its name, or where it is though not in PATH.
func installed(name, pattern string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	if found, _ := filepath.Glob(pattern); len(found) > 0 {
		return slices.Max(found), nil
	}
	return "", errors.New(name + " is not installed")
}

// versions are those of what is measured beside the standard library, as far as
// they can be found out.
func (b *bench) versions(servers []string) (lines []string) {
	said := func(name string, args ...string) string {
		out, err := exec.CommandContext(b.ctx, name, args...).Output()
		if err != nil {
			return "unknown"
		}
		line, _, _ := strings.Cut(string(out), "\n")
		return strings.TrimSpace(line)
	}
	lines = append(lines, "hythe "+said("git", "describe", "--always", "--dirty"))
	modules := map[string]string{
		gnetServer:     "github.com/panjf2000/gnet/v2",
		netpollServer:  "github.com/cloudwego/netpoll",
		nbioServer:     "github.com/lesismal/nbio",
		fasthttpServer: "github.com/valyala/fasthttp",
	}
	seen := make(map[string]bool)
	for _, name := range servers {
		p := b.provide(name)
		if p.err != nil || seen[name] {
			continue
		}
		seen[name] = true
		switch name {
		case gnetServer, netpollServer, nbioServer, fasthttpServer:
			lines = append(lines, name+" "+moduleVersion(p.self, modules[name]))
		case libfcgiServer:
			lines = append(lines, name+" "+said("pkg-config", "--modversion", "fcgi"))
		case phpServer:
			lines = append(lines, said(p.program, "-v"))
		case rsyslogDisk:
			version, _, _ := strings.Cut(said(p.program, "-v"), " (")
			lines = append(lines, strings.Join(strings.Fields(version), " "))
		}
	}
	return lines
}

// moduleVersion is the version of a module in a program.
func moduleVersion(program, module string) string {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == module {
			return m.Version
		}
	}
	return "unknown"
}
