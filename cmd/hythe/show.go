package main

import (
	"encoding/binary"
	"encoding/json"
	"io"

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
		j := m.JSON()
		j.Record = rec.ID
		b, err := json.Marshal(j)
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
