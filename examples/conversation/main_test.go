package main

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/examples/internal/extest"
	"github.com/hythe-go/hythe/hythetest"
)

func TestConversation(t *testing.T) {
	c := extest.Dial(t, extest.Start(t, newServer()))
	c.Expect("Hello! What is your name?")
	c.Send("Ada")
	c.Expect("I think of a number from 1 to 100. Which?")
	c.Send("seven")
	c.Expect("That is no number.")
	low, high := 1, 100
	for tries := 2; low <= high; tries++ {
		middle := (low + high) / 2
		c.Send(strconv.Itoa(middle))
		switch answer := c.Line(); answer {
		case "It is larger.":
			low = middle + 1
		case "It is smaller.":
			high = middle - 1
		case fmt.Sprintf("That is it, Ada! You needed %d tries.", tries):
			c.ExpectEnd()
			return
		default:
			t.Fatalf("got %q", answer)
		}
	}
	t.Fatal("there is no such number")
}

// A client that leaves in the middle is no error.
func TestConversation_PeerLeaves(t *testing.T) {
	c := hythetest.Dial(t, newServer())
	c.WantLine("Hello! What is your name?")
	c.Write("Ada\n")
	c.WantLine("I think of a number from 1 to 100. Which?")
	c.CloseWrite()
	c.WantEOF()
	c.WantClosed(hythe.PeerDone)
}

func TestConversation_Drain(t *testing.T) {
	srv := newServer()
	c := extest.Dial(t, extest.Start(t, srv))
	c.Send("Ada")
	c.Expect("Hello! What is your name?", "I think of a number from 1 to 100. Which?")
	drained := make(chan error, 1)
	go func() {
		_, err := srv.Drain(context.Background())
		drained <- err
	}()
	c.Expect("I have to go. It was a pleasure, Ada.")
	c.ExpectEnd()
	c.Close() // the server waits a little for its clients to hang up
	if err := <-drained; err != nil {
		t.Errorf("Drain = %v", err)
	}
}
