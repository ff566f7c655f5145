package input

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
)

// The example in docs/relay-protocol.md is what happens.
func TestDocument_Example(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/relay-protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		c := serve(t, conf(func(c *config.Input) { c.Framing = "hythe" }), f.Intake).Dial()
		lines := 0
		for line := range strings.Lines(string(text)) {
			way, rest, _ := strings.Cut(strings.TrimPrefix(line, "    "), " ")
			if line[:1] != " " || way != ">" && way != "<" {
				continue
			}
			lines++
			rest, _, _ = strings.Cut(rest, "  ")
			b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(rest), " ", ""))
			switch {
			case err != nil:
				t.Fatalf("%q: %v", line, err)
			case way == ">":
				c.WriteBytes(b)
			default:
				c.WantBytes(b)
			}
		}
		if lines != 12 {
			t.Errorf("%d lines", lines)
		}
		wantTaken(t, f, "hello", "hi")
		m := f.Messages()[0]
		if string(m.ID) != "a-1" || string(m.Source) != "web 192.0.2.7" || string(m.Key) != "k" || m.Received.Unix() != 1e9 {
			t.Errorf("%+v", m)
		}
	})
}
