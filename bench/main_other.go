//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: it reads CPU time, memory and epoll as Linux has them, and runs nowhere else; the benchmarks of go test -bench do")
	os.Exit(1)
}
