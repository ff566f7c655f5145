package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/examples/internal/extest"
	"github.com/hythe-go/hythe/fcgi"
)

func TestAsk(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "app.sock")
	extest.StartAt(t, &hythe.Server{Service: &fcgi.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Script", fcgi.Param(r, "SCRIPT_FILENAME"))
		fmt.Fprintf(w, "%s %s %q\n", r.Method, r.RequestURI, r.FormValue("name"))
	})}}, "unix://"+socket)
	for form, want := range map[string]string{
		"":           `GET /a.php?q=1 ""`,
		"name=value": `POST /a.php?q=1 "value"`,
	} {
		var out strings.Builder
		if err := ask(t.Context(), transport(socket, "/srv"), "http://localhost/a.php?q=1", form, &out); err != nil {
			t.Fatal(err)
		}
		got := strings.ReplaceAll(out.String(), "\r", "")
		if !strings.HasPrefix(got, "200 OK\n") || !strings.Contains(got, "\nX-Script: /srv/a.php\n") || !strings.HasSuffix(got, "\n\n"+want+"\n") {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
	if err := ask(t.Context(), transport(filepath.Join(t.TempDir(), "none"), "/srv"), "http://localhost/", "", new(strings.Builder)); err == nil {
		t.Error("no error from an application that is not there")
	}
}
