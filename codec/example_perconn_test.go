package codec_test

import (
	"fmt"

	"github.com/hythe-go/hythe/codec"
)

// numbered has each line of a connection begin with its number: state, which
// belongs to one connection.
type numbered struct {
	codec.Codec[string, string]
	next int
}

func (c *numbered) PerConn() codec.Codec[string, string] {
	return &numbered{Codec: codec.ForConn(c.Codec), next: 1}
}

func (c *numbered) Append(dst []byte, line string) ([]byte, error) {
	out, err := c.Codec.Append(dst, fmt.Sprintf("%d %s", c.next, line))
	if err == nil {
		c.next++
	}
	return out, err
}

func ExamplePerConn() {
	shared := &numbered{Codec: codec.Lines()}
	for range 2 { // connections
		c := codec.ForConn[string, string](shared)
		wire, _ := c.Append(nil, "hello")
		wire, err := c.Append(wire, "world")
		fmt.Printf("%q %v\n", wire, err)
	}
	// Output:
	// "1 hello\n2 world\n" <nil>
	// "1 hello\n2 world\n" <nil>
}
