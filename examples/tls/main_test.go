package main

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/examples/internal/extest"
	"github.com/hythe-go/hythe/hythetest"
)

// writeCert writes a certificate and its key into dir, and returns their files.
func writeCert(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Unix(1<<32, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, priv)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func wantName(t *testing.T, nc net.Conn, want string) {
	t.Helper()
	if got := nc.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName; got != want {
		t.Errorf("the certificate is for %q, want %q", got, want)
	}
}

// In memory, where the second that it takes costs nothing.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cert, key := writeCert(t, dir, "one")
		srv, err := newServer(&hythe.TLSFiles{Cert: cert, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		s := hythetest.Serve(t, srv)
		first := s.Dial()
		first.StartTLS(nil)
		wantName(t, first.Conn(), "one")

		writeCert(t, dir, "two")
		time.Sleep(time.Second)
		second := s.Dial()
		second.StartTLS(nil)
		wantName(t, second.Conn(), "two")
		for _, c := range []*hythetest.Conn{first, second} {
			c.Write("hello\n")
			c.WantLine("hello")
		}
	})
}

// The program itself, with a signal.
func TestProgram(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGHUP")
	}
	dir := t.TempDir()
	cert, key := writeCert(t, dir, "one")
	cmd := exec.Command(extest.Build(t), "-listen", "tcp://127.0.0.1:0", "-cert", cert, "-key", key)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	log := bufio.NewReader(stderr)
	said := func(what string) string {
		t.Helper()
		line, err := log.ReadString('\n')
		_, rest, ok := strings.Cut(strings.TrimSpace(line), what)
		if err != nil || !ok {
			t.Fatalf("the program said %q, %v; want %q", line, err, what)
		}
		return rest
	}
	addr := said("listening on ")
	dial := func(name string) {
		t.Helper()
		nc, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		wantName(t, nc, name)
		c := extest.Talk(t, nc)
		c.Send("hello")
		c.Expect("hello")
		c.Done()
		c.ExpectEnd()
	}
	signal := func(s os.Signal) {
		t.Helper()
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}

	dial("one")
	writeCert(t, dir, "two")
	signal(syscall.SIGHUP)
	said("the certificate is good until ")
	dial("two")
	signal(os.Interrupt)
	if rest, err := io.ReadAll(log); err != nil || len(rest) > 0 {
		t.Errorf("at its end the program said %q, %v", rest, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the program ended with %v", err)
	}
}
