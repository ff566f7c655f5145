package httpd_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/httpd"
)

// lineWriter hands on what is written to it.
type lineWriter chan string

func (w lineWriter) Write(b []byte) (int, error) {
	w <- string(b)
	return len(b), nil
}

// What net/http has to say reaches the Logger, the stack of a panic included.
func TestLogger_HearsOfPanics(t *testing.T) {
	lines := make(lineWriter, 10)
	at := startSite(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("alas") }), func(s *httpd.Server) {
		s.Logger = slog.New(slog.NewTextHandler(lines, nil))
	})
	ask1(t, at, getHello)
	if got := wait(t, lines, "the panic"); !strings.Contains(got, "alas") || !strings.Contains(got, "logger_test.go") {
		t.Errorf("logged was %s", got)
	}
}
