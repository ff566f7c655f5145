package main

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/examples/internal/extest"
)

func enter(t *testing.T, at net.Addr, name string) *extest.Client {
	t.Helper()
	c := extest.Dial(t, at)
	c.Expect("What is your name?")
	c.Send(name)
	c.Expect("* hello " + name)
	return c
}

func TestChat(t *testing.T) {
	at := extest.Start(t, newServer())
	alice := enter(t, at, "alice")
	bob := enter(t, at, "bob")
	alice.Expect("* bob comes in")
	alice.Send("hello everybody")
	bob.Expect("alice: hello everybody")
	bob.Send("hello alice", "goodbye")
	alice.Expect("bob: hello alice", "bob: goodbye")
	bob.Close()
	alice.Expect("* bob leaves")
}

func TestChat_TheRoomCloses(t *testing.T) {
	srv := newServer()
	alice := enter(t, extest.Start(t, srv), "alice")
	drained := make(chan error, 1)
	go func() {
		_, err := srv.Drain(context.Background())
		drained <- err
	}()
	alice.Expect("* the room closes")
	alice.ExpectEnd()
	alice.Close() // the server waits a little for its members to hang up
	if err := <-drained; err != nil {
		t.Errorf("Drain = %v", err)
	}
}

// A member that does not read is cut, and delays nobody.
func TestChat_SlowMember(t *testing.T) {
	at := extest.StartAt(t, newServer(), "unix://"+filepath.Join(t.TempDir(), "room"))
	enter(t, at, "sleeper") // never reads again
	alice := enter(t, at, "alice")
	bob := enter(t, at, "bob")
	alice.Expect("* bob comes in")

	blah := strings.Repeat("blah ", 200)
	for said := 0; ; said++ {
		if said == 100_000 {
			t.Fatal("the sleeper has not been cut")
		}
		alice.Send(blah)
		if heard := bob.Line(); heard == "* sleeper does not listen and is shown the door" {
			t.Logf("after %d kB", said)
			break
		} else if heard != "alice: "+blah {
			t.Fatalf("bob heard %q", heard)
		}
	}
	alice.Expect("* sleeper does not listen and is shown the door")
}
