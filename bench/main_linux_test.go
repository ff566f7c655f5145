package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func init() {
	child["serve"], child["load"] = run, run
}

// Everything works from end to end: every server under every load, with every
// byte compared.
func TestQuick(t *testing.T) {
	t.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0") // or each process ends a second late
	profiles := t.TempDir()
	for _, tt := range []struct {
		name string
		args []string
		want []string // in the output
	}{
		{"all", []string{"-quick"}, nil},
		{"chosen", []string{"-quick", "-md", "-only", "drain,echo64", "-cpuprofile", profiles}, []string{"```\ncommand:", "| standard loop |", "|---|--:|"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			if err := measure(t.Context(), tt.args, &out, io.Discard); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			t.Log("\n" + out.String())
			for _, l := range loads {
				wanted := tt.name == "all" || l.name == "drain" || l.name == "echo64"
				if got := strings.Contains(out.String(), l.name+": "+l.title); got != wanted {
					t.Errorf("the table of %s is there: %v, want %v", l.name, got, wanted)
				}
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("the output does not have %q", want)
				}
			}
		})
	}
	if st, err := os.Stat(filepath.Join(profiles, "echo64-hythe-bytes.prof")); err != nil || st.Size() == 0 {
		t.Errorf("no CPU profile: %v, %v", st, err)
	}
}

func TestPin(t *testing.T) {
	b := new(bench)
	if err := b.pin(); err != nil {
		t.Skip(err)
	}
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
		{"-only echo64,nosuch", `no load "nosuch"`},
		{"-rounds 0", "above zero"},
		{"-slice 0s", "above zero"},
		{"-idle -1", "above zero"},
		{"-nosuch", "not defined"},
		{"serve", `unexpected argument "serve"`},
	} {
		err := measure(t.Context(), strings.Fields(tt.args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.args, err, tt.want)
		}
	}
}
