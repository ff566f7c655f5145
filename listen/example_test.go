package listen_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/hythe-go/hythe/listen"
)

func ExampleListen() {
	ls, err := listen.Listen(context.Background(), "tcp://127.0.0.1:0?backlog=16")
	if err != nil {
		fmt.Println(err)
		return
	}
	l := ls[0]
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "hello\n")
			c.Close()
		}
	}()

	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	b, _ := io.ReadAll(c)
	fmt.Printf("%s says %s", l.Endpoint(), b)
	// Output: tcp://127.0.0.1:0?backlog=16 says hello
}

func ExampleConfig_Listen() {
	busy, err := listen.Listen(context.Background(), "tcp://127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer busy[0].Close()

	c := listen.Config{OnAttempt: func(e *listen.Error) { fmt.Println("failed:", e.Op) }}
	_, err = c.Listen(context.Background(), "tcp://"+busy[0].Addr().String())
	fmt.Println(errors.Is(err, syscall.EADDRINUSE))
	// Output:
	// failed: bind
	// true
}

func ExampleListener_Pause() {
	ls, err := listen.Listen(context.Background(), "tcp://127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	l := ls[0]
	defer l.Close()

	l.Pause()
	c, err := net.Dial("tcp", l.Addr().String()) // the kernel answers and queues it
	fmt.Println("connected while paused:", err == nil, "accepted:", l.Stats().Accepted)
	defer c.Close()
	l.Resume()
	accepted, err := l.Accept()
	fmt.Println("accepted:", l.Stats().Accepted, err)
	accepted.Close()
	// Output:
	// connected while paused: true accepted: 0
	// accepted: 1 <nil>
}

func ExampleClassify() {
	fmt.Println(listen.Classify(syscall.ECONNABORTED), listen.Classify(syscall.EMFILE), listen.Classify(net.ErrClosed))
	// Output: retry shortage closed
}
