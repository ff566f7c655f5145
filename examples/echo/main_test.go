package main

import (
	"testing"

	"github.com/hythe-go/hythe/examples/internal/extest"
)

func TestEcho(t *testing.T) {
	c := extest.Dial(t, extest.Start(t, newServer()))
	c.Send("hello", "", "wörld")
	c.Expect("hello", "", "wörld")
	c.Send("lines that", "came before the end", "are answered")
	c.Done()
	c.Expect("lines that", "came before the end", "are answered")
	c.ExpectEnd()
}
