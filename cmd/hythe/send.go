package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"
)

// What is sent before its acknowledgement is waited for.
const (
	sendMessages = 500
	sendBytes    = 1 << 20
)

// A sender sends messages.
type sender interface {
	// send sends messages, and returns how many of them the relay has: all, if
	// err is nil.
	send(ctx context.Context, messages [][]byte) (n int, err error)

	// done is what is true of messages that were sent.
	done() string

	// Close ends the connection, if there is one. Its error means that messages
	// may not have arrived.
	io.Closer
}

// sendCommand sends lines, or whole files, to a relay.
func sendCommand(p *program, ctx context.Context, f *flag.FlagSet, args []string) error {
	to := f.String("to", "http://127.0.0.1:7080/in", "where to: `URL` with http:, https:, tcp: or unix:")
	framing := f.String("framing", "lines", "of tcp: and unix:, as the relay's input has it; only with hythe are messages acknowledged")
	key := f.String("key", "", "ordering `KEY` of all messages; over http:, https: and framing hythe")
	token := f.String("token-file", "", "`FILE` with the bearer token that an input with http: may want")
	whole := f.Bool("whole", false, "each file is one message, not each line")
	timeout := f.Duration("timeout", 30*time.Second, "for connecting, and for each acknowledgement")
	files, err := parse(f, args)
	if err != nil {
		return err
	}
	u, err := url.Parse(*to)
	if err != nil {
		return errUsage{err}
	}
	var s sender
	switch u.Scheme {
	case "http", "https":
		s, err = newHTTPSender(*to, *key, *token, *timeout)
	case "tcp", "unix":
		if *key != "" && *framing != "hythe" {
			return usage("-key: framing %s has no place for it", *framing)
		}
		s, err = dialSender(ctx, u, *framing, *key, *timeout)
	default:
		err = usage("-to: %q is no http:, https:, tcp: or unix: URL", *to)
	}
	if err != nil {
		return err
	}
	if len(files) == 0 {
		files = []string{"-"}
	}
	sent := 0
	for _, file := range files {
		err = p.readMessages(file, *whole, func(messages [][]byte) error {
			n, err := s.send(ctx, messages)
			sent += n
			return err
		})
		if err != nil {
			break
		}
	}
	if closed := s.Close(); err == nil {
		err = closed
	}
	fmt.Fprintf(p.stderr, "hythe: %d messages %s\n", sent, s.done())
	return err
}

// readMessages calls send with what is in a file, some messages at a time.
func (p *program) readMessages(file string, whole bool, send func([][]byte) error) error {
	r := p.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	if whole {
		b, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		return send([][]byte{b})
	}
	lines := bufio.NewReaderSize(r, 64<<10)
	var batch [][]byte
	size := 0
	for {
		line, err := lines.ReadBytes('\n')
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			batch, size = append(batch, line), size+len(line)
		}
		if len(batch) > 0 && (err != nil || len(batch) == sendMessages || size >= sendBytes || lines.Buffered() == 0) {
			if err := send(batch); err != nil {
				return err
			}
			batch, size = batch[:0], 0
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
