package httpd_test

import "strings"

func get1(fields ...string) string {
	return head(append([]string{"GET /first HTTP/1.1", "Host: good.example"}, fields...)...)
}

// Fields: RFC 9112, section 5.
var fieldCases = []headCase{
	{name: "field with a blank before the colon", section: "5.1", raw: get1("X : y"), want: "400"},
	{name: "field with a tab before the colon", section: "5.1", raw: get1("X\t: y"), want: "400"},
	{name: "field without a colon", section: "5", raw: get1("X"), want: "400"},
	{name: "field without a name", section: "5", raw: get1(": y"), want: "400"},
	{name: "name with a parenthesis", section: "RFC 9110, 5.1", raw: get1("X(: y"), want: "400"},
	{name: "name with a blank", section: "RFC 9110, 5.1", raw: get1("X Y: z"), want: "400"},
	{name: "name with a zero", section: "RFC 9110, 5.1", raw: get1("X\x00: y"), want: "400"},
	{name: "name above ASCII", section: "RFC 9110, 5.1", raw: get1("X\xc3\xbc: y"), want: "400"},
	{name: "name in quotes", section: "RFC 9110, 5.1", raw: get1(`"X": y`), want: "400"},
	{name: "no value", section: "5", raw: get1("X:"), want: "served"},
	{name: "blanks around the value", section: "5.1", raw: get1("X: \t y \t "), want: "served"},
	{name: "value above ASCII", section: "RFC 9110, 5.5", raw: get1("X: \xff\xfe"), want: "served|400"},
	{name: "zero in a value", section: "RFC 9110, 5.5", raw: get1("X: a\x00b"), want: "400|served"},
	{name: "CR in a value", section: "2.2", raw: get1("X: a\rb"), want: "400|served"},
	{name: "CR and a field in a value", section: "2.2", raw: get1("X: a\rTransfer-Encoding: chunked"), want: "400|served"},
	{name: "CRs at the end of a value", section: "2.2", raw: get1("X: a\r"), want: "400|served"},
	{name: "control byte in a value", section: "RFC 9110, 5.5", raw: get1("X: a\x01b"), want: "400|served"},
	{name: "DEL in a value", section: "RFC 9110, 5.5", raw: get1("X: a\x7fb"), want: "400|served"},
	{name: "folded value", section: "5.2", raw: get1("X: a", " b"), want: "400|served"},
	{name: "folded with nothing", section: "5.2", raw: get1("X: a", " "), want: "400|served"},
	{name: "a fold that looks like a field", section: "5.2", raw: get1("X: a", " Content-Length: 50"), want: "400|served"},
	{name: "head of 30 kB", section: "RFC 6585, 5", raw: get1("X: " + strings.Repeat("y", 30000)), want: "431"},
	{name: "5,000 fields", section: "RFC 6585, 5", raw: get1(strings.Repeat("X: y\r\n", 5000) + "Y: z"), want: "431"},
	{name: "a head without an end", section: "8", raw: "GET /first HTTP/1.1\r\nX: y\r\nGET", want: "400|closed"},
}

// Content-Length: RFC 9110, section 8.6, and RFC 9112, section 6.3.
var lengthCases = []headCase{
	{name: "length 5", section: "6.2", raw: post("hello", "Content-Length: 5"), want: "served", body: "hello"},
	{name: "length 0", section: "6.2", raw: post("", "Content-Length: 0"), want: "served"},
	{name: "no length", section: "6.3", raw: post(""), want: "served|411"},
	{name: "length with zeros", section: "RFC 9110, 8.6", raw: post("hello", "Content-Length: 0005"), want: "served|400", body: "hello"},
	{name: "length with blanks", section: "5.1", raw: post("hello", "Content-Length: \t5 \t"), want: "served", body: "hello"},
	{name: "length +5", section: "6.3", raw: post("hello", "Content-Length: +5"), want: "400"},
	{name: "length -5", section: "6.3", raw: post("hello", "Content-Length: -5"), want: "400"},
	{name: "length -0", section: "6.3", raw: post("", "Content-Length: -0"), want: "400"},
	{name: "length 0x5", section: "6.3", raw: post("hello", "Content-Length: 0x5"), want: "400"},
	{name: "length 5.0", section: "6.3", raw: post("hello", "Content-Length: 5.0"), want: "400"},
	{name: "length 5e0", section: "6.3", raw: post("hello", "Content-Length: 5e0"), want: "400"},
	{name: "length 0_5", section: "6.3", raw: post("hello", "Content-Length: 0_5"), want: "400"},
	{name: "length 5;", section: "6.3", raw: post("hello", "Content-Length: 5;"), want: "400"},
	{name: "length 5 5", section: "6.3", raw: post("hello", "Content-Length: 5 5"), want: "400"},
	{name: "length behind a vertical tab", section: "6.3", raw: post("hello", "Content-Length: \x0b5"), want: "400"},
	{name: "length behind a zero", section: "6.3", raw: post("hello", "Content-Length: \x005"), want: "400"},
	{name: "length in other digits", section: "6.3", raw: post("hello", "Content-Length: \xef\xbc\x95"), want: "400"},
	{name: "length in words", section: "6.3", raw: post("hello", "Content-Length: five"), want: "400"},
	{name: "empty length", section: "6.3", raw: post("", "Content-Length:"), want: "400"},
	{name: "length of 20 digits", section: "RFC 9110, 8.6", raw: post("hello", "Content-Length: 99999999999999999999"), want: "400|413"},
	{name: "length of 2 to the 64 and 5", section: "RFC 9110, 8.6", raw: post("hello", "Content-Length: 18446744073709551621"), want: "400|413"},
	{name: "length above 63 bits", section: "RFC 9110, 8.6", raw: post("hello", "Content-Length: 9223372036854775813"), want: "400|413"},
	{name: "two lengths", section: "6.3", raw: post(smuggled, "Content-Length: 0", "Content-Length: 46"), want: "400"},
	{name: "two lengths the other way", section: "6.3", raw: post(smuggled, "Content-Length: 46", "Content-Length: 0"), want: "400"},
	{name: "two lengths the same", section: "6.3", raw: post("hello", "Content-Length: 5", "Content-Length: 5"), want: "served|400", body: "hello"},
	{name: "list of lengths", section: "6.3", raw: post("hello", "Content-Length: 5, 6"), want: "400"},
	{name: "list of lengths the same", section: "6.3", raw: post("hello", "Content-Length: 5, 5"), want: "400|served"},
	{name: "length behind a blank", section: "5.1", raw: post("hello", "Content-Length : 5"), want: "400"},
	{name: "folded length", section: "5.2", raw: post("hello", "Content-Length:", " 5"), want: "400|served", body: "hello"},
	{name: "length folded in two", section: "5.2", raw: post("hello", "Content-Length: 5", " 0"), want: "400"},
	{name: "length with an underscore", section: "RFC 9110, 5.1", raw: post("", "Content_Length: 5"), want: "served|400|411"},
	{name: "a request for a body", section: "6.3", raw: post(smuggled, "Content-Length: 46"), want: "served|400", body: smuggled},
	{name: "GET with a request for a body", section: "RFC 9110, 9.3.1", raw: get1("Content-Length: 46") + smuggled, want: "served|last|400", body: smuggled},
	{name: "HEAD with a request for a body", section: "RFC 9110, 9.3.2", raw: head("HEAD /first HTTP/1.1", "Host: good.example", "Content-Length: 46") + smuggled, want: "served|last|400", body: smuggled},
	{name: "OPTIONS with a request for a body", section: "RFC 9110, 9.3.7", raw: head("OPTIONS /first HTTP/1.1", "Host: good.example", "Content-Length: 46") + smuggled, want: "served|last|400", body: smuggled},
	{name: "a body that ends early", section: "8", raw: post("hello", "Content-Length: 5000"), want: "bad body|400|closed"},
}
