package memnet_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/memnet"
)

// tlsConfigs returns the two sides' configurations for a server with a name.
func tlsConfigs(t testing.TB, name string) (client, server *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	client = &tls.Config{RootCAs: roots, ServerName: name}
	server = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return client, server
}

func TestTLS(t *testing.T) {
	for _, network := range []*memnet.Network{
		{},
		{MaxRead: 1},
		{Buffer: 100, MaxWrite: 3, Latency: time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			clientConfig, serverConfig := tlsConfigs(t, "echo.test")
			a, b := pipe(t, network)
			client, server := tls.Client(a, clientConfig), tls.Server(b, serverConfig)
			served := start(func() error {
				if _, err := io.Copy(server, server); err != nil {
					return err
				}
				return server.CloseWrite()
			})
			if err := client.Handshake(); err != nil { // see "Bubbles" in the package documentation
				t.Fatal(err)
			}
			want := strings.Repeat("all the way there and back ", 200)
			sent := start(func() error {
				if _, err := io.WriteString(client, want); err != nil {
					return err
				}
				return client.CloseWrite()
			})
			got, err := io.ReadAll(client)
			if string(got) != want || err != nil {
				t.Errorf("got %d bytes back, %v, want the %d sent", len(got), err, len(want))
			}
			wantErr(t, "client", <-sent, nil)
			wantErr(t, "server", <-served, nil)
			client.Close()
			server.Close()
		})
	}
}

// serveHTTP serves h at name until the test ends.
func serveHTTP(t testing.TB, network *memnet.Network, name string, srv *http.Server) *http.Client {
	t.Helper()
	ln := listen(t, network, name)
	served := start(func() error { return srv.Serve(ln) })
	transport := &http.Transport{DialContext: network.DialContext}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		srv.Close()
		if err := <-served; err != http.ErrServerClosed {
			t.Errorf("Serve error = %v, want http.ErrServerClosed", err)
		}
	})
	return &http.Client{Transport: transport}
}

func TestHTTP(t *testing.T) {
	for _, network := range []*memnet.Network{
		{},
		{MaxRead: 1},
		{Buffer: 1000, Latency: 10 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			client := serveHTTP(t, network, "www.test:80", &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				fmt.Fprintf(w, "from %s: %s", r.RemoteAddr, body)
			})})
			for range 3 { // on one connection
				body := strings.Repeat("x", 5000)
				res, err := client.Post("http://www.test/", "text/plain", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				_, echo, _ := strings.Cut(string(got), ": ")
				if !strings.HasPrefix(string(got), "from www.test:80#") || echo != body || err != nil {
					t.Errorf("got %.30q... (%d bytes), %v, want from www.test:80#n and the body", got, len(got), err)
				}
			}
		})
	}
}

// The server closes before it has read the whole body. Since net/http lingers,
// the reply arrives all the same.
func TestHTTPRepliesToUnreadBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		ln := listen(t, &network, "www.test:80")
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		})}
		go srv.Serve(ln)
		defer srv.Close()

		c, err := network.Dial(t.Context(), "www.test:80")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		written := start(func() error {
			_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: www.test\r\nContent-Length: 1000000\r\n\r\n%01000000d", 0)
			return err
		})
		got, err := io.ReadAll(c)
		if !strings.HasPrefix(string(got), "HTTP/1.1 413 ") {
			t.Errorf("got %.20q, %v, want a reply with status 413", got, err)
		}
		c.Close()
		if err := <-written; err == nil {
			t.Error("the whole body was written, want a failure")
		}
		time.Sleep(time.Second) // until net/http has done lingering
	})
}

func TestHTTPIdleTimeoutInFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		ln := listen(t, &network, "www.test:80")
		srv := &http.Server{IdleTimeout: 10 * time.Minute, Handler: http.NotFoundHandler()}
		go srv.Serve(ln)
		defer srv.Close()

		c, err := network.Dial(t.Context(), "www.test:80")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		begin := time.Now()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: www.test\r\n\r\n")
		got, err := io.ReadAll(c)
		if !strings.HasPrefix(string(got), "HTTP/1.1 404 ") || err != nil {
			t.Errorf("got %.20q, %v, want a reply with status 404", got, err)
		}
		if got := time.Since(begin); got != 10*time.Minute {
			t.Errorf("closed after %v, want 10m", got)
		}
	})
}

// A *Conn can be used where code looks for TCP's extra methods.
var _ interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
} = (*memnet.Conn)(nil)
