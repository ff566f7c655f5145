package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate makes a certificate with its key, and returns their files.
func certificate(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, secret.Public(), secret)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestParse_TLSFiles(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir, "a")
	certificate(t, dir, "b")
	both := filepath.Join(dir, "both.pem")
	a, _ := os.ReadFile(filepath.Join(dir, "a.pem"))
	k, _ := os.ReadFile(filepath.Join(dir, "a.key"))
	if err := os.WriteFile(both, append(a, k...), 0o600); err != nil {
		t.Fatal(err)
	}
	out := "output.out.to = \"stdout:\"\nroute.all.to = [\"out\"]\n"
	server := out + "input.in = { listen = [\"tcp://127.0.0.1:1\"], tls = { TLS } }"
	client := minimal + "output.far = { to = \"tls://h:1\", tls = { TLS } }"
	admin := minimal + "admin = { listen = \"tcp://:1\", tls = { TLS } }"
	for _, test := range []struct{ text, tls, want string }{
		{server, `cert = "D/a.pem", key = "D/a.key"`, ""},
		{server, `cert = "D/a.pem", key = "D/a.key", client_ca = "D/b.pem"`, ""},
		{server, `cert = "D/both.pem"`, ""},
		{server, `cert = "D/a.pem"`, "input.in.tls.cert: D/a.pem: "},
		{server, `cert = "D/a.pem", key = "D/b.key"`, "input.in.tls.cert: D/a.pem: private key does not match"},
		{server, `key = "D/b.key"`, "input.in.tls.cert: a certificate is needed"},
		{server, `cert = "D/a.pem", key = "D/a.key", client_ca = "D/a.key"`, "input.in.tls.client_ca: D/a.key: there is no certificate in it"},
		{server, `cert = "D/a.pem", key = "D/none"`, "input.in.tls.key: stat D/none: no such file"},
		{server, `cert = "D", key = "D/a.key"`, "input.in.tls.cert: D: not a regular file"},
		{client, ``, ""},
		{client, `ca = "D/a.pem", cert = "D/a.pem", key = "D/a.key", server_name = "x"`, ""},
		{client, `ca = "D/none"`, "output.far.tls.ca: stat D/none"},
		{client, `cert = "D/a.pem"`, "output.far.tls.key: cert and key go together"},
		{client, `key = "D/a.key"`, "output.far.tls.cert: cert and key go together"},
		{admin, `cert = "D/a.pem", key = "D/a.key"`, "admin.listen: tcp://:1 can be reached from elsewhere"},
		{admin, `cert = "D/a.pem", key = "D/a.key", client_ca = "D/b.pem"`, ""},
	} {
		text := strings.ReplaceAll(strings.Replace(test.text, "TLS", test.tls, 1), "D/", dir+"/")
		text = strings.ReplaceAll(text, `"D"`, `"`+dir+`"`)
		want := strings.ReplaceAll(strings.ReplaceAll(test.want, "D/", dir+"/"), "D:", dir+":")
		_, err := Parse("f", []byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", test.tls, err, want)
		}
	}
}
