package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What hythe alone prints can be tried as it is.
func TestRun_DefaultsAndWhatItSaysOfThem(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:7000", "127.0.0.1:7080", "127.0.0.1:7070"} {
		probe, err := net.Listen("tcp", addr)
		if err != nil {
			t.Skipf("the port is taken: %v", err)
		}
		probe.Close()
	}
	need(t, "bash")
	need(t, "nc")
	need(t, "curl")
	dir := t.TempDir()
	p := serve(t, dir)
	p.stderr.await(t, `fcgi +unix:\S*hythe-data/fcgi.sock`, 1)
	p.stderr.await(t, `status +http://127.0.0.1:7070/`, 1)
	for _, match := range p.stderr.await(t, `try: (.*)`, 2) {
		if out, err := exec.Command("bash", "-c", match[1]).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", match[1], err, out)
		}
	}
	p.stdout.await(t, `^hello\nhello\n$`, 1)
	if info, err := os.Stat(filepath.Join(dir, "hythe-data", "fcgi.sock")); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the FastCGI socket: %v, %v", info, err)
	}
	if out, _ := hythe(t, "", exitOK, "top"); !strings.Contains(out, "fcgi") || !strings.Contains(out, "stdout") {
		t.Error(out)
	}
	if _, stderr := hythe(t, "by send\n", exitOK, "send"); !strings.Contains(stderr, "1 messages acknowledged") {
		t.Error(stderr)
	}
	p.stdout.await(t, `by send\n$`, 1)
	p.stop(exitOK)
	p.stderr.await(t, `messages: 3 taken, 3 delivered`, 1)
	if out, _ := hythe(t, "", exitOK, "tail", "-data", filepath.Join(dir, "hythe-data"), "all"); out != "hello\nhello\nby send\n" {
		t.Errorf("tail: %q", out)
	}
}

func TestRun_FlagsAreAPipeline(t *testing.T) {
	dir, one := t.TempDir(), freePort(t)
	file := filepath.Join(dir, "out.log")
	p := serve(t, dir, "-listen", "tcp://"+one, "-listen", "unix:two.sock", "-to", "file://"+file, "-data", "d", "-admin", "off")
	say(t, one, "one\n")
	hythe(t, "two\n", exitOK, "send", "-to", "unix://"+filepath.Join(dir, "two.sock"))
	p.stop(exitOK)
	if got, err := os.ReadFile(file); err != nil || string(got) != "one\ntwo\n" && string(got) != "two\none\n" {
		t.Errorf("%q, %v", got, err)
	}
	if strings.Contains(p.stderr.String(), "status ") {
		t.Errorf("a status page:\n%s", &p.stderr)
	}
}

func TestRun_StandardInputToStandardOutput(t *testing.T) {
	p := execute(t, t.TempDir(), func(c *exec.Cmd) { c.Stdin = strings.NewReader("a\nb\nc") }, "-listen", "-", "-admin", "off")
	p.ends(exitOK)
	if got := p.stdout.String(); got != "a\nb\nc\n" {
		t.Errorf("%q", got)
	}
}

func TestRun_WhatIsNotDeliveredIsDeliveredAfterTheNextStart(t *testing.T) {
	dir, in, away := t.TempDir(), freePort(t), freePort(t)
	args := []string{"run", "-listen", "tcp://" + in, "-to", "tcp://" + away, "-data", "d", "-admin", "off"}
	p := serve(t, dir, args...)
	say(t, in, "kept\n")
	p.stop(exitOK)
	p.stderr.await(t, `messages: 1 taken, 0 delivered, 1 left in the spool`, 1)

	l, err := net.Listen("tcp", away)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p = serve(t, dir, args...)
	p.stderr.await(t, `route all has 1 messages left for out`, 1)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := make([]byte, 5)
	c.SetReadDeadline(time.Now().Add(patience))
	if n, err := c.Read(got); string(got[:n]) != "kept\n" {
		t.Errorf("%q, %v", got[:n], err)
	}
	p.stop(exitOK)
}

func TestRun_SecondSignalEndsAtOnce(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	dir, in := t.TempDir(), freePort(t)
	conf := write(t, dir, "c.toml", fmt.Sprintf("data = \"d\"\ndrain = \"1h\"\nadmin.listen = \"off\"\n"+
		"input.in.listen = [\"tcp://%s\"]\noutput.out.to = \"stdout:\"\nroute.all.to = [\"out\"]\n", in))
	p := execute(t, dir, func(c *exec.Cmd) { c.Stdout = w }, "run", "-config", conf)
	p.stderr.await(t, `by the spool in`, 1)
	nc, err := net.Dial("tcp", in)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	line := strings.Repeat("x", 99) + "\n"
	if _, err := nc.Write(bytes.Repeat([]byte(line), 4000)); err != nil { // more than the pipe holds
		t.Fatal(err)
	}
	nc.(*net.TCPConn).CloseWrite()
	p.signal(syscall.SIGTERM)
	p.stderr.await(t, `draining, for 1h0m0s at most; a second signal ends at once`, 1)
	p.signal(syscall.SIGINT)
	p.ends(128 + int(syscall.SIGINT))
}

func TestRun_SIGHUP(t *testing.T) {
	dir, in := t.TempDir(), freePort(t)
	base := "data = \"d\"\nadmin.listen = \"off\"\noutput.out.to = \"stdout:\"\nroute.all.to = [\"out\"]\n" +
		"[input.in]\nlisten = [\"tcp://" + in + "\"]\n"
	conf := write(t, dir, "c.toml", base)
	p := serve(t, dir, "run", "-config", conf)
	say(t, in, "old\n")
	p.stdout.await(t, "old\n", 1)

	write(t, dir, "c.toml", base+"max_massage = 10\n")
	p.signal(syscall.SIGHUP)
	p.stderr.await(t, `hythe: the configuration was not changed: .*c.toml:7: input.in.max_massage: there is no such key`, 1)
	say(t, in, "longer than ten\n")
	p.stdout.await(t, "longer than ten\n", 1)

	write(t, dir, "c.toml", base+"framing = \"nul\"\n")
	p.signal(syscall.SIGHUP)
	p.stderr.await(t, `the configuration was read again`, 1)
	say(t, in, "new\x00")
	p.stdout.await(t, "new\n", 1)
	p.stop(exitOK)
}

func TestRun_Mistakes(t *testing.T) {
	dir := t.TempDir()
	bad := write(t, dir, "bad.toml", "data = 5\n")
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"run", "-config", filepath.Join(dir, "none")}, exitUsage, "none: no such file"},
		{[]string{"-config", bad}, exitUsage, "bad.toml:1: data"},
		{[]string{"run", "-config", bad, "-to", "-"}, exitUsage, "-config goes with no other flag"},
		{[]string{"-listen", "nowhere", "-to", "ftp://x"}, exitUsage, "output.out.to"},
		{[]string{"-listen", "nowhere", "-to", "ftp://x"}, exitUsage, "input.lines.listen"},
		{[]string{"-port", "7"}, exitUsage, "flag provided but not defined: -port"},
		{[]string{"run", "now"}, exitUsage, `"now": a flag is missing`},
		{[]string{"chekc"}, exitUsage, `there is no command "chekc" (check?)`},
		{[]string{"frobnicate"}, exitUsage, `there is no command "frobnicate"; hythe help lists them`},
		{[]string{"tail", "a", "b"}, exitUsage, "one route is enough"},
		{[]string{"spool", "eat"}, exitUsage, `there is no "eat"`},
		{[]string{"spool"}, exitUsage, "one of ls, verify"},
		{[]string{"send", "-to", "ftp://x"}, exitUsage, "-to: "},
		{[]string{"send", "-to", "tcp://127.0.0.1:1", "-key", "k"}, exitUsage, "-key: framing lines has no place for it"},
		{[]string{"top", "-admin", "off"}, exitUsage, "-admin: "},
		{[]string{"run", "-data", filepath.Join(bad, "x"), "-listen", "tcp://127.0.0.1:0", "-admin", "off"}, exitFailed, "not a directory"},
	} {
		if _, stderr := hythe(t, "", test.code, test.args...); !strings.Contains(stderr, test.want) {
			t.Errorf("hythe %q says\n%swant %s", test.args, stderr, test.want)
		}
	}
}

func TestRun_EndsWhenStandardOutputIsClosed(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	in := freePort(t)
	p := execute(t, t.TempDir(), func(c *exec.Cmd) { c.Stdout = w }, "-listen", "tcp://"+in, "-admin", "off")
	w.Close()
	p.stderr.await(t, `by the spool in`, 1)
	r.Close()
	say(t, in, "nobody reads this\n")
	p.ends(exitFailed)
	p.stderr.await(t, `nobody reads standard output any more`, 1)
}

func TestCheck(t *testing.T) {
	out, _ := hythe(t, "", exitOK, "check")
	for _, want := range []string{"input lines (frames, lines)", "to stdout: stdout:", "at most 1 GiB"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	dir := t.TempDir()
	conf := write(t, dir, "c.toml", "input.in.listen = [\"tcp://127.0.0.1:1\"]\noutput.out.to = \"file:///tmp/x\"\noutput.more.to = \"stdout:\"\n"+
		"route.all.to = [\"out\"]\n")
	out, _ = hythe(t, "", exitOK, "check", "-config", conf)
	if !strings.Contains(out, "warning: "+conf+":3: output.more: no route leads to it") || !strings.Contains(out, "synced to disk") {
		t.Error(out)
	}
	out, said := hythe(t, "", exitUsage, "check", "-listen", "tcp://127.0.0.1:1", "-to", "nats://127.0.0.1")
	if out != "" || !strings.Contains(said, "output.out.subject: a subject is needed") {
		t.Errorf("%s%s", out, said)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("check has made files: %v, %v", entries, err)
	}
}

func TestHelp(t *testing.T) {
	out, _ := hythe(t, "", exitOK, "help")
	for _, c := range commands() {
		if !strings.Contains(out, "hythe "+c.name) {
			t.Errorf("help does not have %s:\n%s", c.name, out)
		}
		for _, args := range [][]string{{c.name, "-h"}, {"help", c.name}, {c.name, "--help"}} {
			if out, _ := hythe(t, "", exitOK, args...); !strings.HasPrefix(out, "usage: hythe "+c.name) {
				t.Errorf("hythe %q: %s", args, out)
			}
		}
	}
	if out, _ := hythe(t, "", exitOK, "version"); !strings.HasPrefix(out, "hythe ") {
		t.Error(out)
	}
}
