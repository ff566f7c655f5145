package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func init() {
	for _, word := range []string{"serve", "load", "attack"} {
		children[word] = run
	}
}

// Everything works from end to end: every server under every load, with every
// byte compared.
func TestQuick(t *testing.T) {
	t.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0") // or each process ends a second late
	profiles := t.TempDir()
	for _, tt := range []struct {
		name  string
		args  []string
		loads func(l *load) bool
		want  []string // in the output
	}{
		{"default", []string{"-quick"}, func(l *load) bool { return !l.extra }, nil},
		{"chosen", []string{"-quick", "-md", "-only", "drain,echo64", "-cpuprofile", profiles},
			func(l *load) bool { return l.name == "drain" || l.name == "echo64" },
			[]string{"```\ncommand:", "| standard loop |", "|---|--:|"}},
		{"peers", []string{"-quick", "-peers", "-idle", "max", "-only", "echo64,pipeline,unix,churn,idle"}, func(l *load) bool {
			return !l.extra && len(l.peers) > 0 && l.name != "echo1000" && l.name != "paced" && l.name != "blocked"
		},
			[]string{"versions:   hythe ", "\n  gnet ", "\n  netpoll ", "\n  nbio ", "extrapolated from 200 connections"}},
		{"web and relay", []string{"-quick", "-md", "-only", "fcgi,fcgipost,http,httpidle,httpsidle,relay"}, func(l *load) bool { return l.extra },
			[]string{"| hythe fcgi |", "| net/http/fcgi |", "| hythe httpd |", "| fasthttp |", "| hythe relay |"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			if err := measure(t.Context(), tt.args, &out, io.Discard); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			t.Log("\n" + out.String())
			for i := range loads {
				l := &loads[i]
				if got := strings.Contains(out.String(), l.name+": "+l.title); got != tt.loads(l) {
					t.Errorf("the table of %s is there: %v, want %v", l.name, got, !got)
				}
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("the output does not have %q", want)
				}
			}
			checkLeftOut(t, out.String())
		})
	}
	if st, err := os.Stat(filepath.Join(profiles, "echo64-hythe-bytes.prof")); err != nil || st.Size() == 0 {
		t.Errorf("no CPU profile: %v, %v", st, err)
	}
}

// checkLeftOut fails if something was left out that need not be: a server that
// Go alone builds, or that CI has.
func checkLeftOut(t *testing.T, out string) {
	t.Helper()
	var may []string
	if os.Getenv("CI") != "true" {
		may = []string{libfcgiServer, rsyslogSynced, rsyslogDisk, rsyslogInMemory, phpServer}
	}
	for line := range strings.Lines(out) {
		server, why, left := strings.Cut(strings.TrimPrefix(line, "- "), " is left out: ")
		switch {
		case !left:
		case slices.Contains(may, server):
			t.Logf("not measured: %s: %s", server, why)
		default:
			t.Error(line)
		}
	}
}

// What cannot be built here is left out, and the rest is measured.
func TestLeftOutWithoutTools(t *testing.T) {
	t.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0")
	t.Setenv("PATH", "")
	var out strings.Builder
	if err := measure(t.Context(), []string{"-quick", "-peers", "-only", "echo64,fcgi"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"hythe bytes", "gnet is left out: ", "hythe fcgi", "libfcgi is left out: it needs a C compiler"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got\n%s\nwant %q in it", out.String(), want)
		}
	}
}

func TestPin(t *testing.T) {
	b := new(bench)
	if err := b.pin(); err != nil {
		t.Skip(err)
	}
	t.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0")
	var out strings.Builder
	if err := measure(t.Context(), []string{"-quick", "-pin", "-only", "echo64"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if want := "generator on processor"; !strings.Contains(out.String(), want) {
		t.Errorf("got\n%s\nwant a line with %q", out.String(), want)
	}
}

func TestFlagsRefused(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string
	}{
		{"-only echo64,nosuch", `there is no "nosuch"`},
		{"-rounds 0", "above zero"},
		{"-slice 0s", "above zero"},
		{"-idle -1", "above zero"},
		{"-idle many", "invalid"},
		{"-abuse -only echo64", `there is no "echo64"; there are none, noread`},
		{"-nosuch", "not defined"},
		{"serve", `unexpected argument "serve"`},
	} {
		err := measure(t.Context(), strings.Fields(tt.args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.args, err, tt.want)
		}
	}
}
