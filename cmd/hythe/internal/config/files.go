package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// maxFile is how large a file with a certificate or a token may be.
const maxFile = 1 << 20

// read returns what is in a file, and its permissions.
func read(name string) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(name) // before it is opened: that of a pipe would wait
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, 0, fmt.Errorf("%s: not a regular file of at most 1 MiB", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	return b, info.Mode(), err
}

// file complains about a file that cannot be read. An empty name is none.
func (k *checker) file(key, name string) (content []byte, ok bool) {
	if name == "" {
		return nil, false
	}
	content, _, err := read(name)
	if err != nil {
		k.add(key, "%v", err)
	}
	return content, err == nil
}

// token complains about a file without a token.
func (k *checker) token(key, name string) {
	content, ok := k.file(key, name)
	line, _, _ := strings.Cut(string(content), "\n")
	if n := len(strings.TrimSpace(line)); ok && n < 8 {
		k.add(key, "%s: a token of 8 bytes or more is needed on the first line", name)
	}
}

// Token reads a token: what is on the first line of a file.
func Token(name string) (string, error) {
	b, _, err := read(name)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", fmt.Errorf("%s: the first line is empty", name)
	}
	return line, nil
}

// public reports whether everybody on the machine can read a file.
func public(name string) bool {
	_, mode, err := read(name)
	return name != "" && err == nil && mode.Perm()&0o004 != 0
}

func (k *checker) serverTLS(key string, t *TLS) {
	if t == nil {
		return
	}
	k.unused(key, "for those who wait for connections", "cert", "key", "client_ca")
	if t.Cert == "" {
		k.add(key+".cert", "a certificate is needed")
	} else {
		k.pair(key, t.Cert, t.Key)
	}
	k.authorities(key+".client_ca", t.ClientCA)
}

func (k *checker) clientTLS(key string, t *TLS) {
	if t == nil {
		return
	}
	k.unused(key, "for those who connect", "cert", "key", "ca", "server_name")
	if t.Cert != "" && t.Key == "" {
		k.add(key+".key", "cert and key go together")
	} else {
		k.pair(key, t.Cert, t.Key)
	}
	k.authorities(key+".ca", t.CA)
}

// pair complains about a certificate without its key. Without a file for the key
// both are in one.
func (k *checker) pair(key, certFile, keyFile string) {
	if certFile == "" && keyFile != "" {
		k.add(key+".cert", "cert and key go together")
		return
	}
	cert, ok := k.file(key+".cert", certFile)
	secret := cert
	if keyFile != "" {
		var there bool
		secret, there = k.file(key+".key", keyFile)
		ok = ok && there
	}
	if !ok {
		return
	}
	if _, err := tls.X509KeyPair(cert, secret); err != nil {
		k.add(key+".cert", "%s: %s", certFile, strings.TrimPrefix(err.Error(), "tls: "))
	}
}

// authorities complains about a file without certificates.
func (k *checker) authorities(key, name string) {
	content, ok := k.file(key, name)
	if ok && !x509.NewCertPool().AppendCertsFromPEM(content) {
		k.add(key, "%s: there is no certificate in it", name)
	}
}
