package relay

import (
	"time"
	"unicode/utf8"
)

// A JSON is a message as a JSON object. Nothing of it is left out: a body that is
// not text is in base64.
type JSON struct {
	Record   uint64    `json:"record,omitzero"` // its number in a spool
	ID       string    `json:"id"`
	Received time.Time `json:"received"`
	Source   string    `json:"source,omitempty"`
	Key      string    `json:"key,omitempty"`
	Cause    string    `json:"cause,omitempty"` // why a dead letter is one
	Only     string    `json:"only,omitempty"`  // the one output that it is for
	Body     *string   `json:"body,omitempty"`
	Base64   []byte    `json:"body_base64,omitempty"`
}

// JSON returns the message as a JSON object.
func (m *Message) JSON() JSON {
	j := JSON{
		ID: string(m.ID), Received: m.Received.UTC(), Source: string(m.Source), Key: string(m.Key),
		Cause: string(m.Cause), Only: string(m.Only),
	}
	if utf8.Valid(m.Body) {
		body := string(m.Body)
		j.Body = &body
	} else {
		j.Base64 = m.Body
	}
	return j
}
