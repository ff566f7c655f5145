package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/examples/internal/extest"
	"github.com/hythe-go/hythe/hythetest"
)

// server makes the server with a certificate made up for the test.
func server(t *testing.T) *hythe.Server {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0)}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, priv)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	file := filepath.Join(t.TempDir(), "tls.pem")
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	srv, err := newServer(&hythe.TLSFiles{Cert: file})
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

func TestStartTLS(t *testing.T) {
	c := extest.Dial(t, extest.Start(t, server(t)))
	c.Expect("+OK hello")
	c.Send("WHO", "STLS")
	c.Expect("+OK everybody can read this", "+OK go ahead")
	nc := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	secret := extest.Talk(t, nc)
	secret.Send("who", "stls", "quit")
	secret.Expect("+OK only we can read this, by TLS 1.3", "-ERR that is done", "+OK bye")
	secret.ExpectEnd()
}

// A command slipped in behind STLS, in clear, must not be taken for a secret one.
func TestInjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := hythetest.Dial(t, server(t))
		c.WantLine("+OK hello")
		c.Write("STLS\nWHO\nWHO\n")
		c.WantLine("+OK go ahead")
		c.WantClosed(hythe.HandshakeFailed)
	})
}

// A client that never shakes hands is not waited for.
func TestNoHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := hythetest.Dial(t, server(t))
		c.WantLine("+OK hello")
		c.Write("STLS\n")
		c.WantLine("+OK go ahead")
		c.Within(time.Minute).WantClosed(hythe.HandshakeTimeout)
	})
}
