package hythe_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/hythetest"
	"github.com/hythe-go/hythe/memnet"
)

// A signer is a certificate authority.
type signer struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
	pem  []byte
}

var certEnd = time.Unix(1<<32, 0).UTC()

func newSigner(t testing.TB, name string) *signer {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{key: key}
	tmpl := certTemplate(name)
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	s.cert, s.pem = s.sign(t, tmpl, tmpl, pub)
	return s
}

func certTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     certEnd,
		DNSNames:     []string{name},
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func (s *signer) sign(t testing.TB, tmpl, parent *x509.Certificate, pub ed25519.PublicKey) (*x509.Certificate, []byte) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, s.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue makes a certificate and its key, in PEM. All are of the same size if
// their names are.
func (s *signer) issue(t testing.TB, tmpl *x509.Certificate) (cert, key []byte) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	_, cert = s.sign(t, tmpl, s.cert, pub)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// client returns the configuration of a client with a certificate of s's.
func (s *signer) client(t testing.TB, name string) *tls.Config {
	t.Helper()
	pair, err := tls.X509KeyPair(s.issue(t, certTemplate(name)))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		InsecureSkipVerify: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &pair, nil // whatever the server asks for
		},
	}
}

// A certDir is a directory with tls.crt, tls.key and ca.crt.
type certDir struct {
	testing.TB
	path string
	ca   *signer
}

func newCertDir(t testing.TB) *certDir {
	t.Helper()
	d := &certDir{TB: t, path: t.TempDir(), ca: newSigner(t, "the ca")}
	d.write("ca.crt", d.ca.pem)
	d.put("tls", "first")
	return d
}

func (d *certDir) file(name string) string { return filepath.Join(d.path, name) }

func (d *certDir) write(name string, data []byte) {
	d.Helper()
	if err := os.WriteFile(d.file(name), data, 0o600); err != nil {
		d.Fatal(err)
	}
}

// put writes a new certificate and its key.
func (d *certDir) put(base, commonName string) {
	d.Helper()
	cert, key := d.ca.issue(d, certTemplate(commonName))
	d.write(base+".crt", cert)
	d.write(base+".key", key)
}

// files returns the usual configuration, whose news go to a journal.
func (d *certDir) files() (*hythe.TLSFiles, *journal) {
	j := new(journal)
	return &hythe.TLSFiles{
		Cert: d.file("tls.crt"),
		Key:  d.file("tls.key"),
		OnReload: func(err error) {
			if err != nil {
				j.add("%s", strings.ReplaceAll(err.Error(), d.path+"/", ""))
			} else {
				j.add("good")
			}
		},
	}, j
}

func mustConfig(t testing.TB, f *hythe.TLSFiles) *tls.Config {
	t.Helper()
	config, err := f.Config()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// shake makes a connection and has the server say a word over it.
func shake(server, client *tls.Config) (tls.ConnectionState, error) {
	if client == nil {
		client = &tls.Config{InsecureSkipVerify: true}
	}
	a, b := memnet.Pipe()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer b.Close()
		nc := tls.Server(b, server)
		if _, err := nc.Write([]byte("hello")); err == nil {
			nc.CloseWrite()
			io.Copy(io.Discard, b) // until the client has read it
		}
	})
	defer a.Close()
	nc := tls.Client(a, client)
	word, err := io.ReadAll(nc)
	if err == nil && string(word) != "hello" {
		err = fmt.Errorf("read %q", word)
	}
	return nc.ConnectionState(), err
}

// wantCert checks which certificate a client is shown.
func wantCert(t testing.TB, server, client *tls.Config, commonName string) tls.ConnectionState {
	t.Helper()
	st, err := shake(server, client)
	if err != nil {
		t.Fatal(err)
	}
	if got := st.PeerCertificates[0].Subject.CommonName; got != commonName {
		t.Fatalf("the certificate is %q, want %q", got, commonName)
	}
	return st
}

func TestTLSFiles_Swap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCertDir(t)
		f, news := d.files()
		if got := f.NotAfter(); !got.IsZero() {
			t.Errorf("NotAfter = %v before Config", got)
		}
		config := mustConfig(t, f)
		wantCert(t, config, nil, "first")
		if got := f.NotAfter(); !got.Equal(certEnd) {
			t.Errorf("NotAfter = %v, want %v", got, certEnd)
		}

		sooner := certTemplate("other")
		sooner.NotAfter = certEnd.Add(-time.Hour)
		cert, key := d.ca.issue(t, sooner)
		d.write("tls.crt", cert)
		d.write("tls.key", key)
		time.Sleep(time.Second - time.Millisecond)
		wantCert(t, config, nil, "first") // the files are not looked at so often
		time.Sleep(time.Millisecond)
		wantCert(t, config, nil, "other")
		if got := f.NotAfter(); !got.Equal(sooner.NotAfter) {
			t.Errorf("NotAfter = %v, want %v", got, sooner.NotAfter)
		}
		time.Sleep(time.Hour)
		wantCert(t, config, nil, "other")
		news.want(t, "good")
	})
}

// TestTLSFiles_HalfWritten has a certificate whose key comes later.
func TestTLSFiles_HalfWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCertDir(t)
		f, news := d.files()
		config := mustConfig(t, f)
		cert, key := d.ca.issue(t, certTemplate("other"))
		d.write("tls.crt", cert[:len(cert)/2])
		for range 3 {
			time.Sleep(time.Second)
			wantCert(t, config, nil, "first")
		}
		d.write("tls.crt", cert)
		for range 3 {
			time.Sleep(time.Second)
			wantCert(t, config, nil, "first")
		}
		d.write("tls.key", key)
		time.Sleep(time.Second)
		wantCert(t, config, nil, "other")
		news.want(t,
			"hythe: TLS: certificate tls.crt, key tls.key: tls: failed to find any PEM data in certificate input",
			"hythe: TLS: certificate tls.crt, key tls.key: tls: private key does not match public key",
			"good")
	})
}

func TestTLSFiles_MissingForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCertDir(t)
		f, news := d.files()
		config := mustConfig(t, f)
		if err := os.Rename(f.Key, d.file("away")); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(time.Second)
			wantCert(t, config, nil, "first")
		}
		news.want(t, "hythe: TLS: stat tls.key: no such file or directory")
		if err := os.Rename(d.file("away"), f.Key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		wantCert(t, config, nil, "first")
		news.want(t, "hythe: TLS: stat tls.key: no such file or directory", "good")
	})
}

// TestTLSFiles_SymlinkSwap has the files where a Kubernetes volume has them.
func TestTLSFiles_SymlinkSwap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCertDir(t)
		long := time.Now().Add(-time.Hour) // times tell nothing
		version := func(n, commonName string) {
			if err := os.Mkdir(d.file(n), 0o700); err != nil {
				t.Fatal(err)
			}
			d.put(n+"/tls", commonName)
			for _, f := range []string{"/tls.crt", "/tls.key"} {
				if err := os.Chtimes(d.file(n+f), long, long); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(n, d.file("new")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(d.file("new"), d.file("data")); err != nil {
				t.Fatal(err)
			}
		}
		version("v1", "one")
		for _, f := range []string{"tls.crt", "tls.key"} {
			if err := os.Remove(d.file(f)); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("data/"+f, d.file(f)); err != nil {
				t.Fatal(err)
			}
		}
		f, news := d.files()
		config := mustConfig(t, f)
		wantCert(t, config, nil, "one")
		version("v2", "two")
		time.Sleep(time.Second)
		wantCert(t, config, nil, "two")
		news.want(t, "good")
	})
}

// TestTLSFiles_SameTime rewrites files within a tick of the file system's clock.
func TestTLSFiles_SameTime(t *testing.T) {
	d := newCertDir(t)
	f, _ := d.files()
	f.CheckEvery = time.Nanosecond
	touch := func(when time.Time) {
		for _, path := range []string{f.Cert, f.Key} {
			if err := os.Chtimes(path, when, when); err != nil {
				t.Fatal(err)
			}
		}
	}
	now := time.Now()
	touch(now)
	config := mustConfig(t, f)
	d.put("tls", "other")
	touch(now)
	wantCert(t, config, nil, "other")

	// Old files that look the same are the same, unless somebody insists.
	old := now.Add(-time.Hour)
	touch(old)
	wantCert(t, config, nil, "other")
	d.put("tls", "third")
	touch(old)
	wantCert(t, config, nil, "other")
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	wantCert(t, config, nil, "third")
}

func TestTLSFiles_Reload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCertDir(t)
		f, news := d.files()
		f.CheckEvery = -1
		if err := f.Reload(); err == nil {
			t.Error("Reload before Config succeeded")
		}
		config := mustConfig(t, f)
		d.put("tls", "other")
		time.Sleep(time.Hour)
		wantCert(t, config, nil, "first")
		if err := f.Reload(); err != nil {
			t.Error(err)
		}
		wantCert(t, config, nil, "other")
		news.want(t, "good")
		if err := f.Reload(); err != nil {
			t.Error(err)
		}
		news.want(t, "good") // and no more: nothing has changed

		d.write("tls.key", nil)
		for range 2 {
			if err := f.Reload(); err == nil || !strings.Contains(err.Error(), f.Key) {
				t.Errorf("Reload = %v, want an error that names %s", err, f.Key)
			}
		}
		wantCert(t, config, nil, "other")
		news.want(t, "good")
		d.put("tls", "third")
		if err := f.Reload(); err != nil {
			t.Error(err)
		}
		wantCert(t, config, nil, "third")
		news.want(t, "good", "good")
	})
}

func TestTLSFiles_ConfigErrors(t *testing.T) {
	d := newCertDir(t)
	d.put("other", "other")
	d.write("empty", nil)
	d.write("large", bytes.Repeat([]byte("\n"), 4<<20+1))
	d.write("broken.crt", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	for _, tt := range []struct {
		name string
		edit func(f *hythe.TLSFiles)
		want []string // one for each error
	}{
		{"nothing", func(f *hythe.TLSFiles) {
			*f = hythe.TLSFiles{More: []hythe.TLSPair{{}}, ClientAuth: tls.VerifyClientCertIfGiven}
		},
			[]string{"hythe: TLSFiles.Cert is empty", "hythe: TLSFiles.More[0].Cert is empty", "hythe: TLSFiles.ClientAuth verifies, but ClientCA is empty"}},
		{"base", func(f *hythe.TLSFiles) { f.Base = &tls.Config{ClientAuth: tls.RequestClientCert} },
			[]string{"hythe: TLSFiles.Base has certificates"}},
		{"missing", func(f *hythe.TLSFiles) { f.Cert, f.Key = d.file("no.crt"), d.file("no.key") },
			[]string{"hythe: TLS: stat no.crt: no such file", "hythe: TLS: stat no.key: no such file"}},
		{"mismatch", func(f *hythe.TLSFiles) { f.Key = d.file("other.key") },
			[]string{"hythe: TLS: certificate tls.crt, key other.key: tls: private key does not match"}},
		{"no key in the certificate's file", func(f *hythe.TLSFiles) { f.Key = "" },
			[]string{"hythe: TLS: certificate tls.crt, key tls.crt: tls: found a certificate rather than a key"}},
		{"several", func(f *hythe.TLSFiles) {
			f.Key, f.ClientCA = d.file("empty"), d.file("tls.key")
			f.More = []hythe.TLSPair{{Cert: d.file("other.crt"), Key: d.file("tls.key")}}
		}, []string{"certificate tls.crt, key empty:", "certificate other.crt, key tls.key:", "client CA tls.key: block 1 is a PRIVATE KEY"}},
		{"empty CA", func(f *hythe.TLSFiles) { f.ClientCA = d.file("empty") }, []string{"client CA empty: no PEM data"}},
		{"broken CA", func(f *hythe.TLSFiles) { f.ClientCA = d.file("broken.crt") }, []string{"client CA broken.crt: block 1: x509: "}},
		{"directory", func(f *hythe.TLSFiles) { f.Cert = d.path }, []string{"not a regular file"}},
		{"large", func(f *hythe.TLSFiles) { f.ClientCA = d.file("large") }, []string{"hythe: TLS: read large: larger than 4194304 bytes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, news := d.files()
			tt.edit(f)
			_, err := f.Config()
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.Split(strings.ReplaceAll(err.Error(), d.path+"/", ""), "\n")
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			for i := range got {
				if !strings.Contains(got[i], tt.want[i]) {
					t.Errorf("got %q, want %q", got[i], tt.want[i])
				}
			}
			news.want(t)
		})
	}
}

// TestTLSFiles_OneFile has the certificate and the key in the same file.
func TestTLSFiles_OneFile(t *testing.T) {
	d := newCertDir(t)
	cert, key := d.ca.issue(t, certTemplate("both"))
	d.write("both.pem", slices.Concat(key, cert))
	f := &hythe.TLSFiles{Cert: d.file("both.pem")}
	wantCert(t, mustConfig(t, f), nil, "both")
}

func TestTLSFiles_ServerNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCertDir(t)
		d.put("a", "a.test")
		d.put("b", "b.test")
		f, _ := d.files()
		f.More = []hythe.TLSPair{{Cert: d.file("a.crt"), Key: d.file("a.key")}, {Cert: d.file("b.crt"), Key: d.file("b.key")}}
		config := mustConfig(t, f)
		for name, want := range map[string]string{"": "first", "a.test": "a.test", "b.test": "b.test", "c.test": "first"} {
			wantCert(t, config, &tls.Config{InsecureSkipVerify: true, ServerName: name}, want)
		}
		// Another certificate for the same name.
		soon := certTemplate("b.test")
		soon.Subject.CommonName = "new b"
		soon.NotAfter = certEnd.Add(-time.Hour)
		cert, key := d.ca.issue(t, soon)
		d.write("b.crt", cert)
		d.write("b.key", key)
		time.Sleep(time.Second)
		wantCert(t, config, &tls.Config{InsecureSkipVerify: true, ServerName: "b.test"}, "new b")
		wantCert(t, config, &tls.Config{InsecureSkipVerify: true, ServerName: "a.test"}, "a.test")
		if got := f.NotAfter(); !got.Equal(soon.NotAfter) {
			t.Errorf("NotAfter = %v, want the first, %v", got, soon.NotAfter)
		}
	})
}

func TestTLSFiles_ALPN(t *testing.T) {
	d := newCertDir(t)
	f, _ := d.files()
	f.NextProtos = []string{"x/2", "x/1"}
	config := mustConfig(t, f)
	for _, tt := range []struct{ offer, want string }{{"x/1", "x/1"}, {"x/2", "x/2"}, {"", ""}} {
		client := &tls.Config{InsecureSkipVerify: true}
		if tt.offer != "" {
			client.NextProtos = []string{tt.offer, "y"}
		}
		if st := wantCert(t, config, client, "first"); st.NegotiatedProtocol != tt.want {
			t.Errorf("offered %q, got %q, want %q", tt.offer, st.NegotiatedProtocol, tt.want)
		}
	}
	if _, err := shake(config, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"y"}}); err == nil {
		t.Error("a client without a common protocol was let in")
	}
}

func TestTLSFiles_Base(t *testing.T) {
	d := newCertDir(t)
	f, _ := d.files()
	f.Base = &tls.Config{MaxVersion: tls.VersionTLS12, NextProtos: []string{"x/1"}}
	st := wantCert(t, mustConfig(t, f), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"x/1"}}, "first")
	if st.Version != tls.VersionTLS12 || st.NegotiatedProtocol != "x/1" {
		t.Errorf("got version %x and %q", st.Version, st.NegotiatedProtocol)
	}
}

func TestTLSFiles_ClientCA(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newCertDir(t)
				f, _ := d.files()
				f.ClientCA = d.file("ca.crt")
				f.Base = &tls.Config{MaxVersion: version}
				config := mustConfig(t, f)
				stranger := newSigner(t, "stranger")
				if _, err := shake(config, nil); err == nil {
					t.Error("a client without a certificate was let in")
				}
				if _, err := shake(config, stranger.client(t, "s")); err == nil {
					t.Error("a client with a stranger's certificate was let in")
				}
				ours := d.ca.client(t, "c")
				ours.ClientSessionCache = tls.NewLRUClientSessionCache(0)
				wantCert(t, config, ours, "first")
				if st := wantCert(t, config, ours, "first"); !st.DidResume {
					t.Error("the second connection did not resume the session")
				}

				// Another CA takes over. Tickets do not help those of the old one.
				d.write("ca.crt", stranger.pem)
				time.Sleep(time.Second)
				if _, err := shake(config, ours); err == nil {
					t.Error("a client of the old CA was let in")
				}
				wantCert(t, config, stranger.client(t, "s"), "first")

				// A CA that cannot be used is no reason to let everybody in.
				d.write("ca.crt", nil)
				time.Sleep(time.Second)
				if _, err := shake(config, nil); err == nil {
					t.Error("a client without a certificate was let in")
				}
				wantCert(t, config, stranger.client(t, "s"), "first")
			})
		})
	}
}

func TestTLSFiles_ClientAuth(t *testing.T) {
	d := newCertDir(t)
	f, _ := d.files()
	f.ClientCA, f.ClientAuth = d.file("ca.crt"), tls.VerifyClientCertIfGiven
	config := mustConfig(t, f)
	wantCert(t, config, nil, "first")
	wantCert(t, config, d.ca.client(t, "c"), "first")
	if _, err := shake(config, newSigner(t, "stranger").client(t, "s")); err == nil {
		t.Error("a client with a stranger's certificate was let in")
	}
}

// TestTLSFiles_Tickets resumes a session after the certificate was changed.
func TestTLSFiles_Tickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCertDir(t)
		f, news := d.files()
		config := mustConfig(t, f)
		client := &tls.Config{InsecureSkipVerify: true, ServerName: "x", ClientSessionCache: tls.NewLRUClientSessionCache(0)}
		for i := range 4 {
			st, err := shake(config, client)
			if err != nil || st.DidResume != (i > 0) {
				t.Errorf("connection %d: resumed %t, %v", i, st.DidResume, err)
			}
			d.put("tls", fmt.Sprintf("no. %d", i))
			time.Sleep(time.Second)
		}
		news.want(t, "good", "good", "good")
	})
}

// TestTLSFiles_NobodyWaits shakes hands while somebody reads the files, or is
// told about them.
func TestTLSFiles_NobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCertDir(t)
		f, _ := d.files()
		told, goOn := make(chan struct{}), make(chan struct{})
		f.OnReload = func(error) { close(told); <-goOn }
		config := mustConfig(t, f)
		d.put("tls", "other")
		time.Sleep(time.Second)
		release := hythe.HoldTLSFiles(f)
		wantCert(t, config, nil, "first")
		release()
		done := make(chan error)
		go func() {
			_, err := shake(config, nil)
			done <- err
		}()
		<-told
		wantCert(t, config, nil, "other")
		if err := f.Reload(); err != nil {
			t.Error(err)
		}
		close(goOn)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestTLSFiles_Concurrent shakes many hands while the files change.
func TestTLSFiles_Concurrent(t *testing.T) {
	d := newCertDir(t)
	f, news := d.files()
	f.CheckEvery = time.Nanosecond
	config := mustConfig(t, f)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				if _, err := shake(config, nil); err != nil {
					t.Error(err)
				}
				f.NotAfter()
			}
		})
	}
	for i := range 20 {
		d.put("tls", fmt.Sprintf("no. %d", i))
		if err := f.Reload(); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	wantCert(t, config, nil, "no. 19")
	for _, e := range news.entries() {
		if e != "good" && !strings.HasPrefix(e, "hythe: TLS: certificate tls.crt, key tls.key: ") {
			t.Error(e)
		}
	}
}

// TestTLSFiles_Server swaps a certificate under a server.
func TestTLSFiles_Server(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCertDir(t)
		f, _ := d.files()
		s := hythetest.Serve(t, &hythe.Server{Service: echoService(), TLS: mustConfig(t, f)})
		dial := func(commonName string) *hythetest.Conn {
			t.Helper()
			c := s.Dial()
			c.StartTLS(nil)
			c.Write("hello\n")
			c.WantLine("hello")
			if got := c.Conn().(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName; got != commonName {
				t.Errorf("the certificate is %q, want %q", got, commonName)
			}
			return c
		}
		old := dial("first")
		d.put("tls", "other")
		time.Sleep(time.Second)
		dial("other")
		old.Write("still there?\n")
		old.WantLine("still there?")

		d.write("tls.crt", nil)
		time.Sleep(time.Second)
		dial("other")
	})
}

func ExampleTLSFiles() {
	files := hythe.TLSFiles{
		Cert: "/etc/echo/tls.crt",
		Key:  "/etc/echo/tls.key",
		OnReload: func(err error) {
			if err != nil {
				fmt.Println("the old certificate stays in use:", err)
			}
		},
	}
	config, err := files.Config()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("the certificate expires at", files.NotAfter())
	_ = hythe.Server{Service: echoService(), TLS: config}
	// Output:
	// hythe: TLS: stat /etc/echo/tls.crt: no such file or directory
	// hythe: TLS: stat /etc/echo/tls.key: no such file or directory
}
