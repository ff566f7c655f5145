package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/framing"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
)

// A streamSender sends framed messages over a connection.
type streamSender struct {
	conn    net.Conn
	framing string
	key     []byte
	timeout time.Duration
	ids     *relay.IDs
	encode  func(dst, msg []byte) ([]byte, error) // nil: framing hythe
	buf     []byte
	sent    uint64
	acked   uint64
}

func dialSender(ctx context.Context, u *url.URL, name, key string, timeout time.Duration) (*streamSender, error) {
	address := u.Host
	if u.Scheme == "unix" {
		address = u.Host + u.Path + u.Opaque
	}
	s := &streamSender{framing: name, key: []byte(key), timeout: timeout, ids: relay.NewIDs()}
	if name != "hythe" {
		c, err := framing.New(name, 1<<30)
		if err != nil {
			return nil, errUsage{err}
		}
		s.encode = c.Append
	}
	var err error
	s.conn, err = (&net.Dialer{Timeout: timeout}).DialContext(ctx, u.Scheme, address)
	return s, err
}

func (s *streamSender) done() string {
	if s.encode == nil {
		return "acknowledged"
	}
	return "sent, and not acknowledged: framing " + s.framing + " does not do that"
}

// Close says that nothing more comes, and waits until the relay has heard it.
func (s *streamSender) Close() error {
	defer s.conn.Close()
	c, ok := s.conn.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	s.conn.SetReadDeadline(time.Now().Add(s.timeout))
	_, err := io.Copy(io.Discard, s.conn)
	return err
}

// send sends messages and, with the framing hythe, waits until they are
// acknowledged.
func (s *streamSender) send(ctx context.Context, messages [][]byte) (n int, err error) {
	if err := s.encodeAll(messages); err != nil {
		return 0, err
	}
	s.conn.SetDeadline(time.Now().Add(s.timeout))
	defer context.AfterFunc(ctx, func() { s.conn.SetDeadline(time.Unix(1, 0)) })()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	before := s.acked
	_, err = s.conn.Write(s.buf)
	if err != nil || s.encode != nil {
		if err == nil {
			n = len(messages)
		}
		return n, err
	}
	s.sent += uint64(len(messages))
	for err == nil && s.acked < s.sent {
		err = s.readAck()
	}
	return int(s.acked - before), err
}

// encodeAll puts the messages into the buffer.
func (s *streamSender) encodeAll(messages [][]byte) (err error) {
	s.buf = s.buf[:0]
	number, now := s.ids.Reserve(len(messages)), time.Now()
	for i, body := range messages {
		if s.encode != nil {
			if s.buf, err = s.encode(s.buf, body); err != nil {
				return err
			}
			continue
		}
		m := relay.Message{ID: s.ids.Append(nil, number+uint64(i)), Received: now, Source: []byte("hythe send"), Key: s.key, Body: body}
		s.buf = m.AppendFrame(s.buf)
	}
	return nil
}

// readAck reads how many messages of the connection are durable.
func (s *streamSender) readAck() error {
	var ack [12]byte
	if _, err := io.ReadFull(s.conn, ack[:]); err != nil {
		return fmt.Errorf("no acknowledgement: %w", err)
	}
	count := binary.BigEndian.Uint64(ack[4:])
	if binary.BigEndian.Uint32(ack[:]) != 8 || count < s.acked || count > s.sent {
		return errors.New("no acknowledgement: what answers has another framing")
	}
	s.acked = count
	return nil
}
