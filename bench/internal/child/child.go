// Package child is what the process of a server and the process that measures it
// have to say to each other: lines of JSON over the server's standard input and
// output.
package child

import "net"

// The first byte of a line says what its handler does before it answers.
const (
	NapMark   = '!' // sleep
	PanicMark = '?' // panic
)

// Greeting is what servers of HTTP and FastCGI answer.
const Greeting = "hello, world\n"

// FreePort returns an address on the loopback whose port was free a moment ago,
// for servers that do not tell which one they were given.
func FreePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
