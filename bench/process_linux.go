package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hythe-go/hythe/bench/internal/child"
)

// A process is this program, run again, or the one with the peers.
type process struct {
	what string
	cmd  *exec.Cmd
	in   io.WriteCloser
	enc  *json.Encoder
	dec  *json.Decoder
}

// startProcess runs a program, this one or one that speaks like it, with the
// given arguments, on the given processors if there are any. Its standard error
// goes to complaints. It ends with ctx, or by stop.
func startProcess(ctx context.Context, cpus []int, complaints io.Writer, program string, args ...string) (*process, error) {
	argv := append([]string{program}, args...)
	if len(cpus) > 0 {
		list := make([]string, len(cpus))
		for i, c := range cpus {
			list[i] = strconv.Itoa(c)
		}
		argv = append([]string{"taskset", "-c", strings.Join(list, ",")}, argv...)
	}
	p := &process{what: strings.Join(args, " "), cmd: exec.CommandContext(ctx, argv[0], argv[1:]...)}
	p.cmd.Stderr = complaints
	p.cmd.WaitDelay = time.Second
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.enc, p.dec = json.NewEncoder(p.in), json.NewDecoder(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

// stop has the process end, and waits. A process that does not end in peace, or
// in which the race detector found something, is an error.
func (p *process) stop() error {
	p.in.Close()
	kill := time.AfterFunc(5*time.Second, func() { p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", p.what, err)
	}
	return nil
}

func (p *process) tell(v any) error {
	if err := p.enc.Encode(v); err != nil {
		return fmt.Errorf("%s: %w", p.what, err)
	}
	return nil
}

// hear waits for a message, for so long at most.
func (p *process) hear(v any, within time.Duration) error {
	kill := time.AfterFunc(within, func() { p.cmd.Process.Kill() })
	err := p.dec.Decode(v)
	if !kill.Stop() {
		return fmt.Errorf("%s: no answer within %v", p.what, within)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.what, err)
	}
	return nil
}

// A server is a server process.
type server struct {
	*process
	name      string
	tcp, unix string
	sink      string // where a relay delivers to
	script    string // what FastCGI requests say
}

// startServer starts the named server, with what the options say besides.
func (b *bench) startServer(name string, o child.Options) (*server, error) {
	return b.startServerWith(name, o, os.Stderr)
}

// startServerWith is startServer with another place for what the server says to
// standard error.
func (b *bench) startServerWith(name string, o child.Options, complaints io.Writer) (*server, error) {
	has := b.provide(name)
	if has.err != nil {
		return nil, has.err
	}
	o.Name, o.Program, o.Nap = name, has.program, b.nap
	o.Socket = filepath.Join(b.dir, strconv.Itoa(int(b.sockets.Add(1)))+".sock")
	p, err := startProcess(b.ctx, b.serverCPUs, complaints, has.self, append([]string{"serve"}, o.Arguments()...)...)
	if err != nil {
		return nil, err
	}
	s := &server{process: p, name: name, script: scriptPath(o.Socket)}
	var hello child.Reply
	if err := s.hear(&hello, replyTime); err != nil {
		s.stop()
		return nil, err
	}
	s.tcp, s.unix, s.sink = hello.TCP, hello.Unix, hello.Sink
	return s, nil
}

// replyTime is how long a process may take to answer what needs no time.
const replyTime = 20 * time.Second

// ask has the server do something.
func (s *server) ask(what string, path ...string) (a child.Reply, err error) {
	if err := s.tell(child.Request{Do: what, Path: strings.Join(path, "")}); err != nil {
		return a, err
	}
	if err := s.hear(&a, replyTime); err != nil {
		return a, err
	}
	if a.Err != "" {
		return a, fmt.Errorf("%s: %s: %s", s.name, what, a.Err)
	}
	return a, nil
}

// A generatorProcess runs jobs.
type generatorProcess struct {
	*process
}

func (b *bench) startGenerator() (*generatorProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := startProcess(b.ctx, b.loadCPUs, os.Stderr, self, "load")
	return &generatorProcess{p}, err
}

// stage waits until the generator has come to a stage.
func (l *generatorProcess) stage(name string, within time.Duration) error {
	o, err := l.outcome(within)
	if err == nil && o.Stage != name {
		err = fmt.Errorf("load: at stage %q, want %q", o.Stage, name)
	}
	return err
}

func (l *generatorProcess) outcome(within time.Duration) (o outcome, err error) {
	if err := l.hear(&o, within); err != nil {
		return o, err
	}
	if o.Err != "" {
		return o, fmt.Errorf("%s", o.Err)
	}
	return o, nil
}

// goOn lets the generator leave a stage.
func (l *generatorProcess) goOn() error { return l.tell("go") }
