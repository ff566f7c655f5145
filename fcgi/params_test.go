package fcgi

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestPairBytes_Spec3_4(t *testing.T) {
	long := strings.Repeat("x", 128)
	for _, test := range []struct{ name, value, want string }{
		{"A", "", "\x01\x00A"},
		{"FCGI_MPXS_CONNS", "1", "\x0f\x01FCGI_MPXS_CONNS1"},
		{"A", long, "\x01\x80\x00\x00\x80A" + long},
		{long, "B", "\x80\x00\x00\x80\x01" + long + "B"},
		{long, long, "\x80\x00\x00\x80\x80\x00\x00\x80" + long + long},
		{long[:127], long[:127], "\x7f\x7f" + long[:127] + long[:127]},
	} {
		got := string(appendPair(nil, test.name, test.value))
		if got != test.want {
			t.Errorf("a name of %d bytes, a value of %d: got %q, want %q", len(test.name), len(test.value), got, test.want)
		}
		name, value, rest, err := cutPair(got + "next")
		if name != test.name || value != test.value || rest != "next" || err != nil {
			t.Errorf("taken apart: %q, %q, %q, %v", name, value, rest, err)
		}
	}
}

func TestFourBytesMayTellAShortLength_Spec3_4(t *testing.T) {
	name, value, rest, err := cutPair("\x80\x00\x00\x01\x80\x00\x00\x02Abc")
	if name != "A" || value != "bc" || rest != "" || err != nil {
		t.Errorf("got %q, %q, %q, %v", name, value, rest, err)
	}
}

func TestDamagedPairs(t *testing.T) {
	for _, b := range []string{
		"\x01", "\x01\x01", "\x01\x01A", "\x80", "\x80\x00\x00", "\x80\x00\x00\x01\x80\x00", "\x05\x00abc",
		"\xff\xff\xff\xff\xff\xff\xff\xffAB", // twice 2 GiB: CVE-2025-23016
		"\xff\xff\xff\xff\x01AB",
	} {
		if _, _, _, err := cutPair(b); err != errPairs {
			t.Errorf("%q: error = %v, want errPairs", b, err)
		}
		if _, err := scanParams(b); err == nil {
			t.Errorf("%q was accepted", b)
		}
		if n := len(maps.Collect(pairs(b))); n != 0 {
			t.Errorf("%q: %d pairs", b, n)
		}
	}
}

func FuzzPairs(f *testing.F) {
	f.Add("\x0f\x01FCGI_MPXS_CONNS1\x01\x00A")
	f.Add("\x80\x00\x00\x01\x80\x00\x00\x02Abc")
	f.Add("\xff\xff\xff\xff\xff\xff\xff\xffAB")
	f.Fuzz(func(t *testing.T, b string) {
		var names, values []string
		var again []byte
		for n, v := range pairs(b) {
			names, values = append(names, n), append(values, v)
			again = appendPair(again, n, v)
		}
		var names2, values2 []string
		for n, v := range pairs(string(again)) {
			names2, values2 = append(names2, n), append(values2, v)
		}
		if !slices.Equal(names, names2) || !slices.Equal(values, values2) {
			t.Fatalf("%q: %q=%q, again %q=%q", b, names, values, names2, values2)
		}
		scanParams(b)
	})
}
