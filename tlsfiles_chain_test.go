package hythe_test

import "testing"

// The certificates that a server's own was signed with stand behind it in its
// file, and are sent along.
func TestTLSFiles_Chain(t *testing.T) {
	d := newCertDir(t)
	cert, key := d.ca.issue(t, certTemplate("leaf"))
	d.write("tls.crt", append(cert, d.ca.pem...))
	d.write("tls.key", key)
	f, _ := d.files()
	sent := wantCert(t, mustConfig(t, f), nil, "leaf").PeerCertificates
	if len(sent) != 2 || sent[1].Subject.CommonName != "the ca" {
		t.Errorf("%d certificates were sent", len(sent))
	}
}
