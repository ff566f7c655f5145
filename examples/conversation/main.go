// Conversation plays a game. It shows the straight-line form: a function that
// talks to one client from top to bottom, and asks when it wants to know
// something, where a session would have to remember what it has asked.
//
//	go run ./examples/conversation
//	nc 127.0.0.1 7000
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
)

type conn = hythe.Conn[string, string]

// talk is the whole conversation. When it returns, the connection ends.
func talk(_ context.Context, c *conn) error {
	name, err := ask(c, "Hello! What is your name?")
	if err != nil {
		return err // the client has left, or worse
	}
	switch tries, err := play(c); {
	case errors.Is(err, hythe.ErrDraining):
		return c.Send("I have to go. It was a pleasure, " + name + ".")
	case err != nil:
		return err
	default:
		return c.Send(fmt.Sprintf("That is it, %s! You needed %d tries.", name, tries))
	}
}

// play has the client guess a number.
func play(c *conn) (tries int, err error) {
	secret := 1 + rand.IntN(100)
	question := "I think of a number from 1 to 100. Which?"
	for {
		answer, err := ask(c, question)
		if err != nil {
			return tries, err
		}
		tries++
		switch guess, err := strconv.Atoi(answer); {
		case err != nil:
			question = "That is no number."
		case guess < secret:
			question = "It is larger."
		case guess > secret:
			question = "It is smaller."
		default:
			return tries, nil
		}
	}
}

// ask says something and returns the answer.
func ask(c *conn, question string) (string, error) {
	if err := c.Send(question); err != nil {
		return "", err
	}
	return c.Receive()
}

func newServer() *hythe.Server {
	return &hythe.Server{
		Service:  hythe.Conversation(codec.Lines(), talk),
		Timeouts: hythe.Timeouts{Idle: 10 * time.Minute}, // to think
	}
}

func main() {
	endpoint := flag.String("listen", "tcp://127.0.0.1:7000", "where to listen")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	srv := newServer()
	srv.OnListen = func(a net.Addr) { log.Print("listening on ", a) }
	if err := srv.ListenAndServe(ctx, *endpoint); err != nil {
		log.Fatal(err)
	}
}
