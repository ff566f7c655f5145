package hythetest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/internal/leaktest"
)

func TestMain(m *testing.M) {
	os.Exit(leaktest.Main(m))
}

// inBoth runs f as a test in fake time and as one in real time.
func inBoth(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Run("fake", func(t *testing.T) { synctest.Test(t, f) })
	t.Run("real", f)
}

// A recorder is a testing.TB that records failures and their lines.
type recorder struct {
	testing.TB // never used, but for what is not below

	mu       sync.Mutex
	helpers  map[string]bool
	failures []failure
	cleanups []func()
}

type failure struct {
	message string
	line    string // of source, that failed
}

// record runs test and returns its failures.
func record(test func(t testing.TB)) []failure {
	r := &recorder{helpers: make(map[string]bool)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer r.cleanup()
		test(r)
	}()
	<-done
	return r.failures
}

func (r *recorder) cleanup() {
	for len(r.cleanups) > 0 {
		last := len(r.cleanups) - 1
		f := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		f()
	}
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Helper() {
	pc, _, _, _ := runtime.Caller(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.helpers[runtime.FuncForPC(pc).Name()] = true
}

func (r *recorder) Errorf(format string, args ...any) {
	r.fail(fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.fail(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

// fail records a failure of the first caller that is not a helper.
func (r *recorder) fail(message string) {
	pcs := make([]uintptr, 20)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		f, more := frames.Next()
		if !more || !r.helpers[f.Function] {
			r.failures = append(r.failures, failure{message, sourceLine(f.File, f.Line)})
			return
		}
	}
}

func sourceLine(file string, line int) string {
	text, err := os.ReadFile(filepath.Base(file))
	lines := strings.Split(string(text), "\n")
	if err != nil || line > len(lines) {
		return fmt.Sprintf("%s:%d", file, line)
	}
	return strings.TrimSpace(lines[line-1])
}

type lines = hythe.Conn[string, string]

// onInput is a session with nothing but Input.
type onInput func(c *lines, in string) error

func (f onInput) Input(c *lines, in string) error { return f(c, in) }

// sessions makes a service of a function that is called with each line.
func sessions(input func(c *lines, in string) error) hythe.Service {
	return hythe.Sessions(codec.Lines(), func(*lines) onInput { return input })
}

// echo answers each line with itself.
func echo(c *lines, in string) error { return c.Send(in) }

// serverTLS is a configuration with a certificate for hythe.test.
var serverTLS = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Unix(1<<32, 0),
		DNSNames:     []string{"hythe.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
})
