package main

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/hythe-go/hythe/bench/internal/child"
)

var (
	//go:embed testdata/libfcgi.c
	libfcgiSource []byte
	//go:embed testdata/hello.php
	phpScript []byte
	//go:embed testdata/rsyslog.conf
	rsyslogConf string
	//go:embed testdata/relay.toml
	relayConf string
)

// programs are the servers that are not functions of ours but programs, each
// started by a process that measures it.
var programs = map[string]func(child.Options) (*child.Server, error){
	libfcgiServer: func(o child.Options) (*child.Server, error) {
		return startProgram(o, &child.Server{Unix: o.Socket}, o.Program, o.Socket)
	},
	phpServer:       startPHP,
	relayServer:     startRelay,
	rsyslogSynced:   rsyslog(`queue.type="Disk" queue.filename="out" queue.size="5000000" queue.checkpointInterval="1000" queue.syncQueueFiles="on"`, ""),
	rsyslogDisk:     rsyslog(`queue.type="Disk" queue.filename="out" queue.size="5000000" queue.checkpointInterval="1000"`, ""),
	rsyslogInMemory: rsyslog(`queue.type="LinkedList" queue.filename="out" queue.size="200000" queue.highWatermark="120000" queue.lowWatermark="40000"`, `queue.type="FixedArray" queue.size="100000"`),
}

// scriptPath is where the script for php-fpm is, and what all FastCGI requests
// say that it is.
func scriptPath(socket string) string { return filepath.Join(directory(socket), "hello.php") }

// directory is the one that a server may have for itself.
func directory(socket string) string { return socket + ".d" }

// startProgram runs a program that will listen where srv says, and waits until
// it does. The caller's goroutine must live as long as the process: the program
// ends with its thread.
func startProgram(o child.Options, srv *child.Server, argv ...string) (*child.Server, error) {
	runtime.LockOSThread()
	said, err := os.CreateTemp(filepath.Dir(o.Socket), "said")
	if err != nil {
		return nil, err
	}
	defer said.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	srv.Used = func() (time.Duration, int64, error) { return child.Tree(cmd.Process.Pid) }
	srv.Stop = func() error {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
		return nil
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", srv.TCP)
		if srv.TCP == "" {
			c, err = net.Dial("unix", srv.Unix)
		}
		if err == nil {
			c.Close()
			return srv, nil
		}
		select {
		case err = <-ended:
			text, _ := os.ReadFile(said.Name())
			return nil, fmt.Errorf("%s: it ended: %w: %s", o.Name, errors.Join(err, errors.New("too early")), text)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			srv.Stop()
			return nil, fmt.Errorf("%s: it does not listen: %w", o.Name, err)
		}
	}
}

func startPHP(o child.Options) (*child.Server, error) {
	dir := directory(o.Socket)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	user := ""
	if os.Getuid() == 0 { // it wants another user then, who must find the script
		user = "user = nobody\nlisten.mode = 0666\n"
		if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
			return nil, err
		}
	}
	conf := fmt.Sprintf("[global]\nerror_log = %s/log\ndaemonize = no\n[bench]\n%slisten = %s\nlisten.backlog = 512\npm = static\npm.max_children = 32\n",
		dir, user, o.Socket)
	err := os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o644)
	err2 := os.WriteFile(scriptPath(o.Socket), phpScript, 0o644)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	return startProgram(o, &child.Server{Unix: o.Socket}, o.Program, "-F", "-y", filepath.Join(dir, "conf"))
}

func startRelay(o child.Options) (*child.Server, error) {
	srv, conf, err := configure(o, relayConf)
	if err != nil {
		return nil, err
	}
	return startProgram(o, srv, o.Program, "run", "-config", conf)
}

// rsyslog returns what starts rsyslog with a queue.
func rsyslog(queue, rulesetQueue string) func(child.Options) (*child.Server, error) {
	return func(o child.Options) (*child.Server, error) {
		text := strings.NewReplacer("RULESETQUEUE", rulesetQueue, "QUEUE", queue).Replace(rsyslogConf)
		srv, conf, err := configure(o, text)
		if err != nil {
			return nil, err
		}
		return startProgram(o, srv, o.Program, "-n", "-f", conf, "-i", filepath.Join(directory(o.Socket), "pid"))
	}
}

// configure writes the configuration of a relay.
func configure(o child.Options, text string) (srv *child.Server, conf string, err error) {
	srv = new(child.Server)
	if srv.TCP, err = child.FreePort(); err != nil {
		return nil, "", err
	}
	if srv.Sink, err = child.FreePort(); err != nil {
		return nil, "", err
	}
	dir := directory(o.Socket)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, "", err
	}
	_, port, _ := net.SplitHostPort(srv.TCP)
	_, sink, _ := net.SplitHostPort(srv.Sink)
	text = strings.NewReplacer("DIR", dir, "PORT", port, "SINK", sink).Replace(text)
	conf = filepath.Join(dir, "conf")
	return srv, conf, os.WriteFile(conf, []byte(text), 0o600)
}
