package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hythe-go/hythe/bench/internal/child"
)

// An abuse is what a bad client does to a server; see the attacks.
type abuse struct {
	kind, title string
	serve       child.Options
	holds       bool // it is of interest whether the server ends the bad connections
}

// abuseFiles is how many descriptors a server has that is to run out of them. Some
// servers need several for each processor.
var abuseFiles = 128 + 4*runtime.GOMAXPROCS(0)

// abuses are all there are, in the order of the table.
var abuses = []abuse{
	{kind: "none", title: "nothing"},
	{kind: "noread", title: "a client that never reads", holds: true},
	{kind: "drip", title: "100 clients with a byte a second", holds: true},
	{kind: "stall", title: "200 handshakes that stall", holds: true, serve: child.Options{TLS: true}},
	{kind: "files", title: "descriptors run out", serve: child.Options{Files: uint64(abuseFiles)}},
	{kind: "panic", title: "a handler panics"},
	{kind: "giant", title: "a line without end", holds: true},
	{kind: "flood", title: "5,000 connections at once", holds: true},
	{kind: "reset", title: "a storm of resets"},
	{kind: "blocked", title: "8 handlers asleep"},
}

// abused are the servers of the abuse table.
var abused = []string{stringsServer, standardServer, gnetServer, netpollServer, nbioServer}

// speaksTLS are those of them that do; the others are attacked without.
var speaksTLS = map[string]bool{stringsServer: true, standardServer: true}

// A suffering is what was measured of a server under an abuse.
type suffering struct {
	abuse   *abuse
	clear   bool          // without TLS, though the abuse is about it
	died    time.Duration // from the beginning of the attack; 0: it has not
	words   string        // its last ones
	lines   int           // of what it said to standard error
	grown   int64         // bytes of resident memory, at most
	stopped time.Duration // when it had come to too much, and the attack was stopped; 0: it has not
	busy    float64       // processors used
	damage  damage
	probe   *probe
}

// abuseTable measures every server under the chosen abuses, and writes the table.
// Processors are not kept apart: attacks want all of them, and so do servers.
func (b *bench) abuseTable() error {
	defer func(cpus []int) { b.serverCPUs = cpus }(b.serverCPUs)
	b.serverCPUs = nil
	rows := make([][]suffering, len(b.abuses))
	var notes []string
	var servers []string
	for _, name := range abused {
		if has := b.provide(name); has.err != nil {
			notes = append(notes, fmt.Sprintf("%s is left out: %v", name, has.err))
			continue
		}
		servers = append(servers, name)
	}
	var work sync.WaitGroup
	slots := make(chan struct{}, b.together)
	errs := make(chan error, len(b.abuses)*len(servers))
	for i := range b.abuses {
		rows[i] = make([]suffering, len(servers))
		for k, name := range servers {
			slots <- struct{}{}
			b.progress("%s: %s", b.abuses[i].title, name)
			work.Go(func() {
				defer func() { <-slots }()
				if err := b.abuse(&b.abuses[i], name, &rows[i][k]); err != nil {
					errs <- fmt.Errorf("%s: %s: %w", b.abuses[i].title, name, err)
				}
			})
		}
	}
	work.Wait()
	close(errs)
	var err error
	for e := range errs {
		err = errors.Join(err, e)
	}
	if err != nil {
		return err
	}
	b.suffered = rows
	b.progress("")
	return b.writeAbuses(servers, rows, notes)
}

// abuse measures one server under one abuse.
func (b *bench) abuse(a *abuse, name string, s *suffering) error {
	s.abuse = a
	o := a.serve
	o.Clock = b.abuseClock
	s.clear = o.TLS && !speaksTLS[name]
	o.TLS = o.TLS && speaksTLS[name]
	var said complaints
	srv, err := b.startServerWith(name, o, &said)
	if err != nil {
		return err
	}
	dead := make(chan struct{})
	go func() { // ends with the process, which is killed below
		srv.cmd.Wait()
		close(dead)
	}()
	defer func() {
		srv.cmd.Process.Kill()
		<-dead
		s.lines, s.words = said.read()
	}()

	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	s.probe = &probe{addr: srv.tcp, tls: o.TLS, stop: ctx}
	if err := s.probe.start(&work); err != nil {
		return err
	}
	select {
	case <-time.After(b.abuseTime / 10):
	case <-dead:
		return errors.New("it died before the attack")
	}
	s.probe.forget()

	self, err := os.Executable()
	if err != nil {
		return err
	}
	attacker, err := startProcess(ctx, nil, os.Stderr, self, "attack")
	if err != nil {
		return err
	}
	defer attacker.stop()
	pid := srv.cmd.Process.Pid
	before, cpuBefore, start := resident(pid), processorTime(pid), time.Now()
	if err := attacker.tell(assault{Kind: a.kind, Addr: srv.tcp, TLS: o.TLS, For: b.abuseTime}); err != nil {
		return err
	}
	over := make(chan error, 1)
	go func() { over <- attacker.hear(&s.damage, b.abuseTime+replyTime) }()
	for tick := time.NewTicker(2 * time.Millisecond); ; {
		select {
		case <-tick.C:
			s.grown = max(s.grown, resident(pid)-before)
			if s.grown >= b.abuseBytes && s.stopped == 0 {
				s.stopped = time.Since(start)
				srv.cmd.Process.Kill()
				attacker.in.Close()
			}
			if used := processorTime(pid) - cpuBefore; used > 0 {
				s.busy = used.Seconds() / time.Since(start).Seconds()
			}
		case <-dead:
			if s.stopped == 0 && s.died == 0 {
				s.died = time.Since(start)
				attacker.in.Close()
			}
			err := <-over
			tick.Stop()
			return err
		case err := <-over:
			tick.Stop()
			return err
		}
	}
}

// forget begins the measurement anew.
func (p *probe) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resident, p.fresh, p.tried, p.refused, p.worked = histogram{}, histogram{}, 0, 0, nil
}

// complaints keep the beginning of what a process says.
type complaints struct {
	mu    sync.Mutex
	first []byte
	lines int
}

func (c *complaints) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines += bytes.Count(b, []byte("\n"))
	c.first = append(c.first, b[:min(len(b), 16<<10-len(c.first))]...)
	return len(b), nil
}

// read returns how many lines there are, and what the process died of if it did:
// a panic, or else the last line.
func (c *complaints) read() (lines int, last string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for line := range strings.Lines(string(c.first)) {
		last = strings.TrimSpace(timestamp.ReplaceAllString(line, ""))
		if strings.HasPrefix(last, "panic: ") {
			break
		}
	}
	return c.lines, last
}

// timestamp is that of package log.
var timestamp = regexp.MustCompile(`^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d `)

// resident is a process's resident memory, quickly.
func resident(pid int) int64 {
	b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "statm"))
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// processorTime is what a process has used so far, to about ten milliseconds.
func processorTime(pid int) time.Duration {
	b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	_, rest, _ := bytes.Cut(b, []byte(") "))
	f := strings.Fields(string(rest))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * (time.Second / 100)
}
