package middleware

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"
)

// BasicAuth lets requests pass that have a name and a password which Check
// accepts, as RFC 7617 has it. Handlers find the name with Request.BasicAuth.
// Passwords travel in clear: use TLS.
type BasicAuth struct {
	// Realm is what is protected, for the person who is asked. Empty means
	// "restricted".
	Realm string

	// Check says whether a password is right, and must be set. Passwords are best
	// kept as slow hashes, such as crypto/pbkdf2 makes, and Check should take as
	// long for a name that it does not know. ctx is the request's.
	Check func(ctx context.Context, user, password string) bool

	// FailDelay is how long a wrong password is left without an answer, at most
	// until the client has gone. Zero means 1 s, negative no time.
	FailDelay time.Duration

	// Proxy asks for the credentials of a proxy: 407 in place of 401, and
	// Proxy-Authorization in place of Authorization.
	Proxy bool
}

// Wrap is the middleware.
func (b BasicAuth) Wrap(next http.Handler) http.Handler {
	if b.Check == nil {
		panic("middleware: BasicAuth.Check is nil")
	}
	ask, given, status := "WWW-Authenticate", "Authorization", http.StatusUnauthorized
	if b.Proxy {
		ask, given, status = "Proxy-Authenticate", "Proxy-Authorization", http.StatusProxyAuthRequired
	}
	challenge := `Basic realm="` + quotable(b.realm()) + `", charset="UTF-8"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch values := r.Header[given]; len(values) {
		case 0:
		case 1:
			user, password, ok := credentials(values[0])
			if ok && b.Check(r.Context(), user, password) {
				for lw := find(w); lw != nil; lw = find(lw.ResponseWriter) {
					lw.user = user
				}
				next.ServeHTTP(w, r)
				return
			}
			wait(r.Context(), b.failDelay())
		default: // whose would the next one behind us believe?
			wait(r.Context(), b.failDelay())
		}
		w.Header().Set(ask, challenge)
		http.Error(w, http.StatusText(status), status)
	})
}

func (b *BasicAuth) realm() string {
	if b.Realm == "" {
		return "restricted"
	}
	return b.Realm
}

func (b *BasicAuth) failDelay() time.Duration {
	if b.FailDelay == 0 {
		return time.Second
	}
	return b.FailDelay
}

// credentials takes a header's value apart.
func credentials(value string) (user, password string, ok bool) {
	r := http.Request{Header: http.Header{"Authorization": {value}}}
	return r.BasicAuth()
}

// quotable is s as it may stand in a quoted string: RFC 9110, 5.6.4.
func quotable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return '_'
		}
		return c
	}, s)
}

func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Passwords makes a Check of names and their passwords, for the few that a
// program knows in clear. How long it takes says nothing about which of them are
// right. Later changes to the map are not seen.
func Passwords(of map[string]string) func(ctx context.Context, user, password string) bool {
	sums := make(map[[sha256.Size]byte][sha256.Size]byte, len(of))
	for user, password := range of {
		sums[sha256.Sum256([]byte(user))] = sha256.Sum256([]byte(password))
	}
	return func(_ context.Context, user, password string) bool {
		got := sha256.Sum256([]byte(password))
		want, known := sums[sha256.Sum256([]byte(user))]
		return subtle.ConstantTimeCompare(got[:], want[:]) == 1 && known
	}
}
