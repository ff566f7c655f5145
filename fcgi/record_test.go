package fcgi

import (
	"bytes"
	"testing"
)

func TestRecordBytes_Spec3_3(t *testing.T) {
	for _, test := range []struct {
		name string
		got  []byte
		want string
	}{
		{"a record is padded to 8 bytes", appendRecord(nil, typeStdout, 0x0102, []byte("abc")), "\x01\x06\x01\x02\x00\x03\x05\x00abc\x00\x00\x00\x00\x00"},
		{"a multiple of 8 is not", appendRecord(nil, typeStdin, 1, []byte("12345678")), "\x01\x05\x00\x01\x00\x08\x00\x0012345678"},
		{"an empty record ends a stream", appendHeader(nil, typeParams, 1, 0), "\x01\x04\x00\x01\x00\x00\x00\x00"},
		{"an empty piece of a stream is no record", appendStream(nil, typeStdout, 1, nil), ""},
		{"BEGIN_REQUEST", appendBegin(nil, 1, roleFilter, flagKeepConn), "\x01\x01\x00\x01\x00\x08\x00\x00\x00\x03\x01\x00\x00\x00\x00\x00"},
		{"END_REQUEST", appendEnd(nil, 1, 0x01020304, statusUnknownRole), "\x01\x03\x00\x01\x00\x08\x00\x00\x01\x02\x03\x04\x03\x00\x00\x00"},
		{"UNKNOWN_TYPE", appendUnknownType(nil, 42), "\x01\x0b\x00\x00\x00\x08\x00\x00\x2a\x00\x00\x00\x00\x00\x00\x00"},
	} {
		if string(test.got) != test.want {
			t.Errorf("%s:\ngot  %x\nwant %x", test.name, test.got, test.want)
		}
	}
}

// decoded is what a decoder made of some bytes: a record for each kind and id in
// a row, with the pieces of a stream joined.
type decoded struct {
	kind    recordType
	id      uint16
	content string
	ends    int // empty records
}

// decode has d take b apart, as a connection does that gets step bytes at a time.
func decode(b []byte, step int) (all []decoded, rest int, err error) {
	var d decoder
	var src []byte
	for len(b) > 0 || len(src) > 0 {
		n, r, e := d.next(src)
		src = src[n:]
		if e == errShort {
			if len(b) == 0 {
				break
			}
			k := min(step, len(b))
			src = append(bytes.Clone(src), b[:k]...)
			b = b[k:]
			continue
		}
		if e != nil {
			return all, len(src) + len(b), e
		}
		last := len(all) - 1
		if r.first && (last < 0 || all[last].kind != r.kind || all[last].id != r.id || !r.kind.streams() || all[last].ends > 0) {
			all = append(all, decoded{kind: r.kind, id: r.id})
			last++
		}
		all[last].content += string(r.content)
		if r.end {
			all[last].ends++
		}
	}
	return all, len(src), nil
}

func TestDecoderSkipsPaddingOfEveryRecord(t *testing.T) {
	b := []byte("\x01\x09\x00\x00\x00\x00\x03\x00xyz")                                    // empty, padded
	b = append(b, "\x01\x05\x00\x01\x00\x02\xff\x00hi"...)                                // 255 bytes of padding
	b = append(b, bytes.Repeat([]byte{0xee}, 255)...)                                     //
	b = append(b, "\x01\x01\x00\x02\x00\x08\x01\x00\x00\x01\x01\x00\x00\x00\x00\x00z"...) // a control record
	for step := 1; step <= len(b); step++ {
		got, rest, err := decode(b, step)
		if err != nil || rest != 0 || len(got) != 3 || got[1].content != "hi" || got[2].content != "\x00\x01\x01\x00\x00\x00\x00\x00" || got[2].id != 2 {
			t.Fatalf("%d bytes at a time: %+v, %d left, %v", step, got, rest, err)
		}
	}
}

func TestDecoderRefusesOtherVersions(t *testing.T) {
	for _, b := range []string{"\x00", "\x02\x01\x00\x01\x00\x00\x00\x00", "GET / HTTP/1.1\r\n"} {
		if _, _, err := decode([]byte(b), 1); err != errVersion(b[0]) {
			t.Errorf("%q: error = %v, want %v", b, err, errVersion(b[0]))
		}
	}
}

func TestDecoderHandsOutStreamsAsTheyCome(t *testing.T) {
	var d decoder
	b := appendRecord(nil, typeStdin, 1, make([]byte, 1000))
	if n, r, err := d.next(b[:108]); n != 108 || len(r.content) != 100 || !r.first || err != nil {
		t.Fatalf("the first 100 bytes: %d, %d bytes, first %v, %v", n, len(r.content), r.first, err)
	}
	if n, r, err := d.next(b[108:]); n != 900 || len(r.content) != 900 || r.first || err != nil {
		t.Fatalf("the others: %d, %d bytes, first %v, %v", n, len(r.content), r.first, err)
	}
	if !d.between() {
		t.Error("the decoder wants more")
	}
}

// Whatever comes, and however it is cut, the decoder makes the same of it.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte(ask(1, flagKeepConn, "body", "REQUEST_METHOD", "POST")), uint8(3))
	f.Add([]byte("\x01\x09\x00\x00\x00\x11\x07\x00\x0f\x00FCGI_MPXS_CONNS1234567"), uint8(1))
	f.Add([]byte("\x01\x63\x00\x01\xff\xff\xff\x00abc"), uint8(200))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		whole, _, err := decode(b, len(b)+1)
		cut, _, cutErr := decode(b, int(step)+1)
		if err != cutErr || len(whole) != len(cut) {
			t.Fatalf("whole: %+v, %v\ncut:   %+v, %v", whole, err, cut, cutErr)
		}
		for i := range whole {
			if whole[i] != cut[i] {
				t.Fatalf("record %d: whole %+v, cut %+v", i, whole[i], cut[i])
			}
		}
	})
}
