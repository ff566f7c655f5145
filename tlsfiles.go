package hythe

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// TLSFiles makes a [tls.Config] of files that may change while it is in use, as
// certificates do that are renewed. Files that cannot be used are refused, and
// the last good ones stay in use until better ones come.
//
//	files := hythe.TLSFiles{Cert: "tls.crt", Key: "tls.key"}
//	config, err := files.Config()
//	if err != nil {
//		return err
//	}
//	srv := hythe.Server{TLS: config, Service: svc}
//
// There is no goroutine that watches. The files are looked at during a
// handshake, at most once in CheckEvery, and read when they have changed. They
// may be rewritten, replaced by a rename, or reached through a symbolic link
// that is switched, as in a Kubernetes volume. A certificate without its new key
// yet is refused, and looked at again. All files are used as they are, or none
// of them.
//
// The fields must not be changed once Config was called; a TLSFiles must not be
// copied then. The methods are safe for concurrent use.
type TLSFiles struct {
	// Cert and Key are the files of the certificate, in PEM, followed by those
	// that it was signed with, and of its private key. If Key is empty, Cert has
	// both.
	Cert, Key string

	// More are further certificates. A client gets the first of all that suits
	// the name and the algorithms that it has asked for, or else Cert's.
	More []TLSPair

	// ClientCA is a file of the certificates, in PEM, that those of clients must
	// be signed with.
	ClientCA string

	// ClientAuth says what is asked of clients. With a ClientCA the default is
	// tls.RequireAndVerifyClientCert; those without a certificate are let in by
	// tls.VerifyClientCertIfGiven. Without one the default is nothing.
	ClientAuth tls.ClientAuthType

	// NextProtos are the protocols that clients can choose from, by ALPN, the
	// preferred first.
	NextProtos []string

	// Base, if set, has all other settings. It is not changed.
	Base *tls.Config

	// CheckEvery is how long the files are not looked at after they were. Zero
	// means one second, a negative duration that only Reload looks.
	CheckEvery time.Duration

	// OnReload, if set, is called with an error when the files cannot be used any
	// more as they are: once, until they are good again or fail in another way.
	// It is called with nil when changed files have been put to use, or those in
	// use are good again. What Reload returns is not told as well. It runs during
	// a handshake or in Reload, under no lock.
	OnReload func(err error)

	epoch   time.Time    // set before inUse
	checked atomic.Int64 // when the files were looked at, since epoch
	inUse   atomic.Pointer[tlsLoaded]

	mu      sync.Mutex      // held while the files are looked at
	seen    map[string]file // those in use, by path; guarded by mu
	failure string          // what is known to be wrong; guarded by mu
}

// A TLSPair names the files of a certificate and its private key. If Key is
// empty, Cert has both.
type TLSPair struct{ Cert, Key string }

// tlsLoaded is what good files were made into.
type tlsLoaded struct {
	config   *tls.Config
	notAfter time.Time
}

// maxTLSFileBytes bounds what is read of a file.
const maxTLSFileBytes = 4 << 20

// Config loads the files, if that has not been done, and returns a
// configuration for servers that follows them. All that is wrong is reported
// together, each error with its file.
//
// Session tickets stay valid when files change, unless the certificate of the
// client that has one is not signed by any ClientCA any more.
func (f *TLSFiles) Config() (*tls.Config, error) {
	if err := f.validate(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inUse.Load() == nil {
		f.epoch = time.Now()
		if _, err := f.look(true); err != nil {
			return nil, err
		}
	}
	config := f.base()
	config.NextProtos = f.nextProtos()
	// Its ticket keys serve for whatever the function returns.
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return f.current().config, nil
	}
	return config, nil
}

// Reload reads the files now, as for a signal. It returns what is wrong with
// them, in which case the old ones stay in use. Config must have been called.
func (f *TLSFiles) Reload() error {
	if f.inUse.Load() == nil {
		return errors.New("hythe: TLSFiles: Reload before Config")
	}
	f.mu.Lock()
	news, err := f.look(true)
	f.mu.Unlock()
	if news && err == nil {
		f.tell(nil)
	}
	return err
}

// NotAfter returns when the first of the certificates in use expires; the zero
// time before Config.
func (f *TLSFiles) NotAfter() time.Time {
	if l := f.inUse.Load(); l != nil {
		return l.notAfter
	}
	return time.Time{}
}

// current returns what is to be used for a handshake. It looks at the files if
// it is time to and nobody else is doing it.
func (f *TLSFiles) current() *tlsLoaded {
	if f.due() && f.mu.TryLock() {
		var news bool
		var err error
		if f.due() { // nobody has just looked
			news, err = f.look(false)
		}
		f.mu.Unlock()
		if news {
			f.tell(err)
		}
	}
	return f.inUse.Load()
}

// due reports whether it is time to look at the files.
func (f *TLSFiles) due() bool {
	every := f.CheckEvery
	switch {
	case every < 0:
		return false
	case every == 0:
		every = time.Second
	}
	return time.Since(f.epoch)-time.Duration(f.checked.Load()) >= every
}

func (f *TLSFiles) tell(err error) {
	if f.OnReload != nil {
		f.OnReload(err)
	}
}

// look looks at the files, and puts them to use if they have changed and are
// good. It reports whether it did, or found something new to be wrong. Unless
// all is set, files that look as they did are not read. f.mu is held.
func (f *TLSFiles) look(all bool) (news bool, err error) {
	defer func() {
		f.checked.Store(int64(time.Since(f.epoch)))
		var failure string
		if err != nil {
			failure = err.Error()
		}
		news = news || failure != f.failure
		f.failure = failure
	}()
	now, changed, err := f.read(all)
	if err != nil || !changed {
		return false, err
	}
	loaded, err := f.load(now)
	if err != nil {
		return false, err
	}
	f.seen = now
	f.inUse.Store(loaded)
	return true, nil
}

// read returns the files as they are now, and whether any is not as it was
// seen. f.mu is held.
func (f *TLSFiles) read(all bool) (now map[string]file, changed bool, err error) {
	var errs []error
	now = make(map[string]file)
	for _, path := range f.paths() {
		if _, done := now[path]; done {
			continue
		}
		old, known := f.seen[path]
		if all {
			old.settled = false
		}
		it, err := readFile(path, old)
		if err != nil {
			errs = append(errs, fmt.Errorf("hythe: TLS: %w", err))
			continue
		}
		now[path] = it
		changed = changed || !known || !bytes.Equal(old.data, it.data)
	}
	if len(errs) == 0 && !changed {
		f.seen = now // it may be another file with the same bytes
	}
	return now, changed, errors.Join(errs...)
}

func (f *TLSFiles) paths() []string {
	var paths []string
	for _, p := range f.pairs() {
		paths = append(paths, p.Cert, p.Key)
	}
	if f.ClientCA != "" {
		paths = append(paths, f.ClientCA)
	}
	return paths
}

// pairs returns all certificates, each with the name of its key's file.
func (f *TLSFiles) pairs() []TLSPair {
	all := append([]TLSPair{{f.Cert, f.Key}}, f.More...)
	for i := range all {
		if all[i].Key == "" {
			all[i].Key = all[i].Cert
		}
	}
	return all
}

// load makes a configuration of what the files hold.
func (f *TLSFiles) load(files map[string]file) (*tlsLoaded, error) {
	var errs []error
	config := f.base()
	config.NextProtos = f.nextProtos()
	config.ClientAuth = f.clientAuth()
	config.Certificates = nil
	loaded := &tlsLoaded{config: config}
	for _, p := range f.pairs() {
		cert, err := tls.X509KeyPair(files[p.Cert].data, files[p.Key].data)
		if err == nil && cert.Leaf == nil {
			cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]) // GODEBUG=x509keypairleaf=0
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("hythe: TLS: certificate %s, key %s: %w", p.Cert, p.Key, err))
			continue
		}
		config.Certificates = append(config.Certificates, cert)
		if end := cert.Leaf.NotAfter; loaded.notAfter.IsZero() || end.Before(loaded.notAfter) {
			loaded.notAfter = end
		}
	}
	if f.ClientCA != "" {
		pool, err := parsePool(files[f.ClientCA].data)
		if err != nil {
			errs = append(errs, fmt.Errorf("hythe: TLS: client CA %s: %w", f.ClientCA, err))
		}
		config.ClientCAs = pool
	}
	return loaded, errors.Join(errs...)
}

// base returns a configuration to be completed.
func (f *TLSFiles) base() *tls.Config {
	if f.Base == nil {
		return new(tls.Config)
	}
	return f.Base.Clone()
}

func (f *TLSFiles) nextProtos() []string {
	if f.NextProtos == nil && f.Base != nil {
		return f.Base.NextProtos
	}
	return f.NextProtos
}

func (f *TLSFiles) clientAuth() tls.ClientAuthType {
	if f.ClientCA != "" && f.ClientAuth == tls.NoClientCert {
		return tls.RequireAndVerifyClientCert
	}
	return f.ClientAuth
}

// validate reports all that is wrong with the fields.
func (f *TLSFiles) validate() error {
	var errs []error
	fail := func(text string) { errs = append(errs, errors.New("hythe: TLSFiles."+text)) }
	if f.Cert == "" {
		fail("Cert is empty")
	}
	for i, p := range f.More {
		if p.Cert == "" {
			fail(fmt.Sprintf("More[%d].Cert is empty", i))
		}
	}
	if f.ClientCA == "" && f.ClientAuth >= tls.VerifyClientCertIfGiven {
		fail("ClientAuth verifies, but ClientCA is empty")
	}
	if b := f.Base; b != nil && (b.GetConfigForClient != nil || b.GetCertificate != nil || b.Certificates != nil || b.ClientCAs != nil || b.ClientAuth != tls.NoClientCert) {
		fail("Base has certificates, ClientCAs, ClientAuth, or a function that returns them")
	}
	return errors.Join(errs...)
}

// parsePool parses certificates, all of which must be good.
func parsePool(data []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for n := 1; ; n++ {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			if n == 1 {
				return nil, errors.New("no PEM data")
			}
			return pool, nil
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("block %d is a %s, not a certificate", n, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("block %d: %w", n, err)
		}
		pool.AddCert(cert)
	}
}

// A file is what was read, and what told then that it need not be read again.
type file struct {
	info    fs.FileInfo
	settled bool // another write would have given it another time
	data    []byte
}

// readFile returns a file as it is now; old if it is the same.
func readFile(path string, old file) (file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return file{}, err
	}
	if old.settled && os.SameFile(info, old.info) && info.Size() == old.info.Size() && info.ModTime().Equal(old.info.ModTime()) {
		return old, nil
	}
	if !info.Mode().IsRegular() {
		return file{}, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	now := file{info: info, settled: time.Since(info.ModTime()) > timeGrain}
	r, err := os.Open(path)
	if err != nil {
		return file{}, err
	}
	defer r.Close()
	now.data, err = io.ReadAll(io.LimitReader(r, maxTLSFileBytes+1))
	if err == nil && len(now.data) > maxTLSFileBytes {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("larger than %d bytes", maxTLSFileBytes)}
	}
	return now, err
}

// timeGrain is more than the steps in which file systems count time. A file
// that was changed more recently may change again and keep its time.
const timeGrain = 2 * time.Second
