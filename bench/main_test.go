package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/hythe-go/hythe/internal/leaktest"
)

// children is what the process does instead of testing if its first argument says
// so; see main_linux_test.go.
var children = map[string]func([]string) error{}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if run := children[os.Args[1]]; run != nil {
			if err := run(os.Args[1:]); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(leaktest.Main(m))
}
