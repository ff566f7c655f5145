package codec_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"strconv"
	"strings"

	"github.com/hythe-go/hythe/codec"
)

// A caller of Decode keeps what is unread and reads on when a message is not complete.
func Example() {
	r := strings.NewReader("one\ntwo\r\nthree")
	c := codec.ForConn(codec.Lines())
	buf := make([]byte, 0, 1024)
	eof := false
	for {
		n, line, err := c.Decode(buf, eof)
		buf = buf[:copy(buf, buf[n:])]
		switch {
		case err == nil:
			fmt.Println(line)
		case err == io.EOF:
			return
		case errors.Is(err, codec.ErrShort):
			n, err := r.Read(buf[len(buf):min(len(buf)+5, cap(buf))])
			buf, eof = buf[:len(buf)+n], err == io.EOF
		default:
			log.Fatal(err)
		}
	}
	// Output:
	// one
	// two
	// three
}

// decode prints the messages of stream and the error that ends it, if it is not a clean end.
func decode[In, Out any](c codec.Codec[In, Out], stream string) {
	c = codec.ForConn(c)
	for src := []byte(stream); ; {
		n, msg, err := c.Decode(src, true)
		src = src[n:]
		if err == io.EOF {
			return
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%q\n", any(msg))
	}
}

// encode prints the frames of msgs.
func encode[In, Out any](c codec.Codec[In, Out], msgs ...Out) {
	var wire []byte
	for _, msg := range msgs {
		var err error
		if wire, err = c.Append(wire, msg); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Printf("%q\n", wire)
}

func ExampleLines() {
	decode(codec.Lines(), "unix\ndos\r\nno end")
	encode(codec.Lines(), "hello", "injected\nline")
	// Output:
	// "unix"
	// "dos"
	// "no end"
	// codec: line: encode: byte 8 would end the frame
	// "hello\n"
}

func ExampleLineBytes() {
	c := codec.LineBytes()
	src := []byte("a line\n")
	_, line, _ := c.Decode(src, false)
	clear(src) // the line is ours
	fmt.Printf("%s\n", line)
	// Output: a line
}

func ExampleLine() {
	c := codec.Line{Max: 8, In: codec.EndAuto, Out: "\r\n", Final: codec.FinalDrop}.Strings()
	decode(c, "a\rb\nc\rcut sho")
	decode(c, "much too long\r")
	encode(c, "hello")
	// Output:
	// "a"
	// "b\nc"
	// codec: line: byte 0: frame too large: more than 8 bytes
	// "hello\r\n"
}

func ExampleLine_Borrowed() {
	c := codec.Line{}.Borrowed()
	src := []byte("a line\n")
	_, line, _ := c.Decode(src, false)
	fmt.Printf("%s\n", line)
	clear(src) // so is the line
	fmt.Printf("%q\n", line)
	// Output:
	// a line
	// "\x00\x00\x00\x00\x00\x00"
}

func ExampleLine_Validate() {
	fmt.Println(codec.Line{Max: -1, In: codec.EndAny, InLiteral: "||"}.Validate())
	// Output:
	// codec: Line.Max is -1: it must be between 1 and 1073741824 bytes, or 0 for 65536
	// codec: Line.InLiteral is "||": it excludes Line.In
}

func ExampleDelimited() {
	c := codec.Delimited([]byte{0})
	decode(c, "./a file\x00./another\nfile\x00")
	encode(c, []byte("x"), []byte("y"))
	// Output:
	// "./a file"
	// "./another\nfile"
	// "x\x00y\x00"
}

func ExampleDelimiter() {
	decode(codec.Delimiter{Delim: []byte("--"), Final: codec.FinalError}.Bytes(), "a--b")
	// Output:
	// "a"
	// unexpected EOF
}

func ExampleFixed() {
	c := codec.Fixed(3)
	decode(c, "onetwo")
	encode(c, []byte("six"), []byte("four"))
	// Output:
	// "one"
	// "two"
	// codec: fixed: encode: frame too large: 4 bytes, at most 3
	// "six"
}

func ExampleFixedSize() {
	decode(codec.FixedSize{Size: 2}.Borrowed(), "abc")
	// Output:
	// "ab"
	// unexpected EOF
}

func ExampleLengthPrefixed() {
	c := codec.LengthPrefixed()
	encode(c, []byte("hello"))
	decode(c, "\x00\x00\x00\x05hello\xff\xff\xff\xff")
	// Output:
	// "\x00\x00\x00\x05hello"
	// "hello"
	// codec: length prefix: byte 0: frame too large: more than 65536 bytes
}

func ExampleLengthPrefix() {
	hello := []byte("hello")
	encode(codec.LengthPrefix{Width: codec.Uint16, LittleEndian: true}.Bytes(), hello)
	encode(codec.LengthPrefix{Width: codec.Uint16, Inclusive: true}.Bytes(), hello)
	encode(codec.LengthPrefix{Width: codec.Uvarint, Max: 1 << 20}.Bytes(), hello)
	encode(codec.LengthPrefix{Width: codec.Uint8, Adjust: -1}.Bytes(), hello)
	// Output:
	// "\x05\x00hello"
	// "\x00\ahello"
	// "\x05hello"
	// "\x04hello"
}

func ExampleNetstrings() {
	c := codec.Netstrings()
	encode(c, []byte("hello world!"), nil)
	decode(c, "5:hello,05:hello,")
	// Output:
	// "12:hello world!,0:,"
	// "hello"
	// codec: netstring: byte 0: length with a leading zero
}

func ExampleNetstring() {
	decode(codec.Netstring{Max: 4}.Bytes(), "4:four,5:hello,")
	// Output:
	// "four"
	// codec: netstring: byte 0: frame too large: more than 4 bytes
}

func ExampleBlocks() {
	c := codec.Blocks()
	encode(c, []byte("hello"))
	decode(c, "5\x00hellojunk5\x00hello")
	// Output:
	// "5\x00hello"
	// "hello"
	// codec: block: byte 0: 'j' in a length
}

func ExampleBlock() {
	decode(codec.Block{Max: 4}.Bytes(), "4\x00four5\x00hello")
	// Output:
	// "four"
	// codec: block: byte 0: frame too large: more than 4 bytes
}

func ExampleRaw() {
	decode(codec.Raw(), "whatever\nwas read")
	// Output: "whatever\nwas read"
}

func ExampleChunk() {
	decode(codec.Chunk{Max: 10}.Bytes(), "whatever was read")
	// Output:
	// "whatever w"
	// "as read"
}

func ExampleJSONLines() {
	type point struct{ X, Y int }
	c := codec.JSONLines[point]()
	encode(c, point{1, 2}, point{3, 4})
	_, p, err := c.Decode([]byte("{\"X\":5}\n"), false)
	fmt.Println(p, err)
	_, _, err = c.Decode([]byte("{5}\n"), false)
	fmt.Println(err)
	// Output:
	// "{\"X\":1,\"Y\":2}\n{\"X\":3,\"Y\":4}\n"
	// {5 0} <nil>
	// codec: json: byte 2: invalid character '5' looking for beginning of object key string
}

func ExampleJSON() {
	encode(codec.JSON[[]string](), []string{"a", "b"})
	// Output: "\x00\x00\x00\t[\"a\",\"b\"]"
}

func ExampleJSONValue() {
	type point struct{ X, Y int }
	c := codec.JSONValue[point]{Frames: codec.Netstring{Max: 1000}.Borrowed(), Strict: true}.Codec()
	encode(c, point{1, 2})
	decode(c, `7:{"Z":1},`)
	// Output:
	// "13:{\"X\":1,\"Y\":2},"
	// codec: json: byte 0: json: unknown field "Z"
}

func ExampleGob() {
	type point struct{ X, Y int }
	c := codec.Gob[point]()
	wire, err := c.Append(nil, point{1, 2})
	if err != nil {
		log.Fatal(err)
	}
	_, p, err := c.Decode(wire, false)
	fmt.Println(p, err)
	// Output: {1 2} <nil>
}

func ExampleGobValue() {
	c := codec.GobValue[string]{Frames: codec.Netstring{}.Borrowed()}.Codec()
	encode(c, "hello")
	// Output: "9:\b\f\x00\x05hello,"
}

func ExampleZlib() {
	c := codec.Zlib{Frames: codec.Netstring{}.Borrowed(), Max: 1 << 20}.Bytes()
	wire, err := c.Append(nil, bytes.Repeat([]byte("hello "), 1000))
	if err != nil {
		log.Fatal(err)
	}
	_, msg, err := c.Decode(wire, false)
	fmt.Println(len(wire) < 100, len(msg), err)
	// Output: true 6000 <nil>
}

func ExampleMap() {
	c := codec.Map(codec.Lines(),
		strconv.Atoi,
		func(n int) (string, error) { return strconv.Itoa(n), nil })
	encode(c, 1, 2)
	_, n, err := c.Decode([]byte("42\n"), false)
	fmt.Println(n, err)
	_, _, err = c.Decode([]byte("forty-two\n"), false)
	fmt.Println(err)
	// Output:
	// "1\n2\n"
	// 42 <nil>
	// codec: map: byte 0: strconv.Atoi: parsing "forty-two": invalid syntax
}

func ExampleGrep() {
	comment := func(line string) bool { return strings.HasPrefix(line, "#") }
	c := codec.Grep(codec.Lines(), func(line string) bool { return !comment(line) }, nil)
	decode(c, "# greetings\nhello\n# end\n")
	// Output: "hello"
}

func ExampleBatch() {
	c := codec.Batch(codec.Lines(), 2)
	decode(c, "a\nb\nc\n")
	encode(c, []string{"x", "y", "z"})
	// Output:
	// ["a" "b"]
	// ["c"]
	// "x\ny\nz\n"
}

func ExampleStack() {
	c := codec.Stack(codec.LengthPrefix{Width: codec.Uint8}.Borrowed(), codec.Strings(codec.Netstring{}.Borrowed()))
	encode(c, "hello")
	decode(c, "\x04"+"1:a,"+"\x05"+"1:b,x")
	// Output:
	// "\b5:hello,"
	// "a"
	// codec: stack: byte 4: 1 bytes after the message
}

func ExamplePair() {
	c := codec.Pair(codec.Lines(), codec.Netstrings())
	decode(c, "question\n")
	encode(c, []byte("answer"))
	// Output:
	// "question"
	// "6:answer,"
}

func ExampleOwned() {
	c := codec.Owned(codec.Netstring{}.Borrowed())
	decode(c, "1:a,")
	// Output: "a"
}

func ExampleStrings() {
	c := codec.Strings(codec.LengthPrefix{}.Borrowed())
	encode(c, "hello")
	// Output: "\x00\x00\x00\x05hello"
}

func ExampleForConn() {
	shared := codec.Line{In: codec.EndAuto}.Strings()
	for _, stream := range []string{"mac\ra\nb", "unix\na\rb"} {
		c := codec.ForConn(shared) // one for each connection
		decode(c, stream)
	}
	// Output:
	// "mac"
	// "a\nb"
	// "unix"
	// "a\rb"
}

func ExampleStateful() {
	fmt.Println(codec.Stateful(codec.Lines()), codec.Stateful(codec.Batch(codec.Lines(), 10)))
	// Output: false true
}

func ExampleShort() {
	_, _, err := codec.LengthPrefixed().Decode([]byte{0, 0, 0, 100}, false)
	short, ok := errors.AsType[codec.Short](err)
	fmt.Println(errors.Is(err, codec.ErrShort), ok, int(short))
	// Output: true true 104
}

func ExampleDecodeError() {
	_, _, err := codec.Netstrings().Decode([]byte("5;hello,"), false)
	if bad, ok := errors.AsType[*codec.DecodeError](err); ok {
		fmt.Println(bad.Codec, bad.Offset, bad.Err)
	}
	// Output: netstring 1 ';' in a length
}

func ExampleEncodeError() {
	_, err := codec.LengthPrefix{Width: codec.Uint8}.Bytes().Append(nil, make([]byte, 256))
	bad, ok := errors.AsType[*codec.EncodeError](err)
	fmt.Println(ok, bad.Codec, errors.Is(err, codec.ErrFrameTooLarge))
	// Output: true length prefix true
}
