package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Options say who is let in. With neither Token nor ClientCert nor Loopback it is
// nobody.
type Options struct {
	// Token, if not empty, lets in who sends it: as a bearer token or, so that
	// browsers can ask for it, as the password of any user.
	Token string

	// ClientCert lets in whose certificate the TLS handshake has verified.
	ClientCert bool

	// Loopback means that only this machine can connect. With neither Token nor
	// ClientCert everybody who can is let in who calls the machine by a name or
	// address of its loopback. A web page from elsewhere cannot do that, whatever
	// its name resolves to.
	Loopback bool
}

var (
	errToken = errors.New("a token is needed: as a bearer token, or as the password of any user")
	errCert  = errors.New("a client certificate is needed")
	errHost  = errors.New("to the loopback address only requests for localhost are answered, for 127.0.0.1 or for [::1]")
	errShut  = errors.New("there is no way to be let in")
)

// A guard lets requests in.
type guard struct {
	token    [sha256.Size]byte // hash of Options.Token
	byToken  bool
	byCert   bool
	loopback bool
}

func newGuard(o Options) guard {
	return guard{token: sha256.Sum256([]byte(o.Token)), byToken: o.Token != "", byCert: o.ClientCert, loopback: o.Loopback}
}

// protect answers requests that are not let in itself.
func (g *guard) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch err := g.check(r); {
		case err == nil:
			next.ServeHTTP(w, r)
		case errors.Is(err, errToken):
			w.Header().Set("WWW-Authenticate", `Basic realm="hythe", charset="UTF-8"`)
			http.Error(w, err.Error(), http.StatusUnauthorized)
		case errors.Is(err, errHost):
			http.Error(w, err.Error(), http.StatusMisdirectedRequest)
		default:
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})
}

// check returns why a request is not let in. Either of a token and a certificate
// is enough.
func (g *guard) check(r *http.Request) error {
	switch {
	case g.byToken && g.knows(r), g.byCert && r.TLS != nil && len(r.TLS.VerifiedChains) > 0:
		return nil
	case g.byToken:
		return errToken
	case g.byCert:
		return errCert
	case !g.loopback:
		return errShut
	case !local(r):
		return errHost
	}
	return nil
}

// knows reports whether a request has the token. How long that takes does not
// tell how much of it is right.
func (g *guard) knows(r *http.Request) bool {
	_, given, ok := r.BasicAuth()
	if !ok {
		var scheme string
		scheme, given, ok = strings.Cut(r.Header.Get("Authorization"), " ")
		ok = ok && strings.EqualFold(scheme, "Bearer")
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(given)))
	return subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1 && ok
}

// local reports whether a request calls the server by a loopback name or address,
// or came over a Unix socket, where no browser can be sent.
func local(r *http.Request) bool {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && a.Network() == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(r.Host, "["), "]")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
