package main

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"time"
	"unicode/utf8"

	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/spool"
)

// formats are how messages are shown: their bodies and LF, a JSON object a line, or
// envelopes in the framing hythe.
var formats = []string{"lines", "ndjson", "envelope"}

// show writes a record.
func show(w io.Writer, rec spool.Record, format string) error {
	m, err := relay.Parse(rec.Payload)
	if err != nil {
		return err
	}
	switch format {
	case "ndjson":
		b, err := json.Marshal(asJSON(&m, rec.ID))
		if err != nil {
			return err
		}
		_, err = w.Write(append(b, '\n'))
		return err
	case "envelope":
		head := binary.BigEndian.AppendUint32(nil, uint32(len(rec.Payload)))
		if _, err := w.Write(head); err != nil {
			return err
		}
		_, err := w.Write(rec.Payload)
		return err
	}
	if _, err := w.Write(m.Body); err != nil {
		return err
	}
	_, err = io.WriteString(w, "\n")
	return err
}

// messageJSON is a message as JSON. Nothing of it is left out: a body that is not
// text is in base64.
type messageJSON struct {
	Record   uint64    `json:"record"` // its number in the spool
	ID       string    `json:"id"`
	Received time.Time `json:"received"`
	Source   string    `json:"source,omitempty"`
	Key      string    `json:"key,omitempty"`
	Cause    string    `json:"cause,omitempty"` // why a dead letter is one
	Only     string    `json:"only,omitempty"`  // the one output that it is for
	Body     *string   `json:"body,omitempty"`
	Base64   []byte    `json:"body_base64,omitempty"`
}

func asJSON(m *relay.Message, record uint64) messageJSON {
	j := messageJSON{
		Record: record, ID: string(m.ID), Received: m.Received.UTC(),
		Source: string(m.Source), Key: string(m.Key), Cause: string(m.Cause), Only: string(m.Only),
	}
	if utf8.Valid(m.Body) {
		body := string(m.Body)
		j.Body = &body
	} else {
		j.Base64 = m.Body
	}
	return j
}
