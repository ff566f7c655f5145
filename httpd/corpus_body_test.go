package httpd_test

import "strings"

const (
	chunked = "Transfer-Encoding: chunked"
	hello   = "5\r\nhello\r\n0\r\n\r\n"
)

// Transfer-Encoding: RFC 9112, sections 6.1 and 6.3.
var codingCases = []headCase{
	{name: "chunked", section: "6.1", raw: post(hello, chunked), want: "served", body: "hello"},
	{name: "Chunked", section: "7", raw: post(hello, "transfer-encoding: CHUNKED"), want: "served", body: "hello"},
	{name: "chunked behind a tab", section: "5.1", raw: post(hello, "Transfer-Encoding:\tchunked\t"), want: "served", body: "hello"},
	{name: "chunked GET", section: "6.1", raw: get1(chunked) + hello, want: "served|last|400", body: "hello"},

	// Both lengths: the answer is to be the last, whatever it is.
	{name: "length and chunked", section: "6.1", raw: post(hello, "Content-Length: 15", chunked), want: "400|last"},
	{name: "chunked and length", section: "6.1", raw: post(hello, chunked, "Content-Length: 15"), want: "400|last"},
	{name: "length and chunked, CL.TE", section: "6.1", raw: post("0\r\n\r\n"+smuggled, "Content-Length: 51", chunked), want: "400|last"},
	{name: "length and chunked, TE.CL", section: "6.1", raw: post("2e\r\n"+smuggled+"\r\n0\r\n\r\n", "Content-Length: 4", chunked), want: "400|last"},
	{name: "length of nothing and chunked", section: "6.1", raw: post(hello, "Content-Length: 0", chunked), want: "400|last"},
	{name: "bad length and chunked", section: "6.1", raw: post(hello, "Content-Length: x", chunked), want: "400|last"},
	{name: "length, and chunked with a blank before the colon", section: "5.1", raw: post("hello", "Content-Length: 5", "Transfer-Encoding : chunked"), want: "400"},
	{name: "length, and chunked on a folded line", section: "5.2", raw: post(hello, "Content-Length: 15", "Transfer-Encoding:", " chunked"), want: "400|last"},
	{name: "length, and chunked behind a CR", section: "2.2", raw: post("hello", "Content-Length: 5", "X: y\rTransfer-Encoding: chunked"), want: "400|served"},
	{name: "length, and chunked behind a LF", section: "2.2", raw: post(hello, "Content-Length: 15", "X: y\nTransfer-Encoding: chunked"), want: "400|last"},
	{name: "length, and chunked with an underscore", section: "RFC 9110, 5.1", raw: post("hello", "Content-Length: 5", "Transfer_Encoding: chunked"), want: "served|400", body: "hello"},
	{name: "length, and chunked in a fold of another", section: "5.2", raw: post("hello", "Content-Length: 5", "X: y", " Transfer-Encoding: chunked"), want: "400|served"},
	{name: "length, and chunked behind a zero", section: "RFC 9110, 5.1", raw: post("hello", "Content-Length: 5", "\x00Transfer-Encoding: chunked"), want: "400"},

	{name: "chunked, 1.0", section: "6.1", raw: head("POST /first HTTP/1.0", "Host: good.example", chunked) + hello, want: "400|last"},
	{name: "chunked, 1.0 and keep-alive", section: "6.1", raw: head("POST /first HTTP/1.0", "Host: good.example", "Connection: keep-alive", chunked) + hello, want: "400|last"},
	{name: "identity", section: "6.1", raw: post("hello", "Transfer-Encoding: identity", "Content-Length: 5"), want: "400|501|last"},
	{name: "gzip alone", section: "6.3", raw: post("hello", "Transfer-Encoding: gzip"), want: "400|501"},
	{name: "gzip, chunked", section: "6.1", raw: post(hello, "Transfer-Encoding: gzip, chunked"), want: "501|400"},
	{name: "chunked, gzip", section: "6.3", raw: post(hello, "Transfer-Encoding: chunked, gzip"), want: "400|501"},
	{name: "chunked, chunked", section: "6.1", raw: post(hello, "Transfer-Encoding: chunked, chunked"), want: "400|501"},
	{name: "chunked twice", section: "6.1", raw: post(hello, chunked, chunked), want: "400|501"},
	{name: "chunked and identity", section: "6.1", raw: post(hello, chunked, "Transfer-Encoding: identity"), want: "400|501"},
	{name: "identity and chunked", section: "6.1", raw: post(hello, "Transfer-Encoding: identity", chunked), want: "400|501"},
	{name: "xchunked", section: "6.1", raw: post(hello, "Transfer-Encoding: xchunked"), want: "501|400"},
	{name: "chunkedx", section: "6.1", raw: post(hello, "Transfer-Encoding: chunkedx"), want: "501|400"},
	{name: "chunked behind a vertical tab", section: "6.1", raw: post(hello, "Transfer-Encoding: \x0bchunked"), want: "501|400"},
	{name: "chunked behind a zero", section: "6.1", raw: post(hello, "Transfer-Encoding: \x00chunked"), want: "501|400"},
	{name: "chunked in quotes", section: "6.1", raw: post(hello, `Transfer-Encoding: "chunked"`), want: "501|400"},
	{name: "chunked with a parameter", section: "7", raw: post(hello, "Transfer-Encoding: chunked;q=1"), want: "501|400"},
	{name: "chunked with a comma behind", section: "RFC 9110, 5.6.1", raw: post(hello, "Transfer-Encoding: chunked,"), want: "501|400|served"},
	{name: "chunked with a comma before", section: "RFC 9110, 5.6.1", raw: post(hello, "Transfer-Encoding: ,chunked"), want: "501|400|served"},
	{name: "empty coding", section: "6.1", raw: post("hello", "Transfer-Encoding:", "Content-Length: 5"), want: "400|501|last"},
	{name: "chunked behind a long s", section: "6.1", raw: post(hello, "Transfer-Encoding: chun\u212aed"), want: "501|400"}, // the Kelvin sign folds to k
}

// Chunks: RFC 9112, section 7.1.
var chunkCases = []headCase{
	{name: "two chunks", section: "7.1", raw: post("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", chunked), want: "served", body: "hello"},
	{name: "no chunks", section: "7.1", raw: post("0\r\n\r\n", chunked), want: "served"},
	{name: "size with zeros", section: "7.1", raw: post("005\r\nhello\r\n000\r\n\r\n", chunked), want: "served", body: "hello"},
	{name: "size in upper case", section: "7.1", raw: post("A\r\nhellohello\r\n0\r\n\r\n", chunked), want: "served", body: "hellohello"},
	{name: "extension", section: "7.1.1", raw: post("5;a=b;c\r\nhello\r\n0;d\r\n\r\n", chunked), want: "served", body: "hello"},
	{name: "quoted extension", section: "7.1.1", raw: post("5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n", chunked), want: "served", body: "hello"},
	{name: "extension with a LF", section: "7.1.1", raw: post("5;a\nhello\r\n0\r\n\r\n", chunked), want: "bad body|400"},
	{name: "extension with a LF and a smuggled request", section: "7.1.1", raw: post("2;\nxx\r\n2e\r\n0\r\n\r\n"+smuggled+"0\r\n\r\n", chunked), want: "bad body|400"},
	{name: "extension with a CR", section: "7.1.1", raw: post("5;a\rb\r\nhello\r\n0\r\n\r\n", chunked), want: "bad body|400|served"},
	{name: "extension of 20 kB", section: "7.1.1", raw: post("5;"+strings.Repeat("x", 20000)+"\r\nhello\r\n0\r\n\r\n", chunked), want: "bad body|400|413"},
	{name: "a thousand extensions", section: "7.1.1", raw: post(strings.Repeat("1;"+strings.Repeat("x", 100)+"\r\nh\r\n", 1000)+"0\r\n\r\n", chunked), want: "bad body|400|413"},
	{name: "blank behind the size", section: "7.1", raw: post("5 \r\nhello\r\n0\r\n\r\n", chunked), want: "served|bad body|400"},
	{name: "blank before the size", section: "7.1", raw: post(" 5\r\nhello\r\n0\r\n\r\n", chunked), want: "bad body|400"},
	{name: "size and LF", section: "7.1", raw: post("5\nhello\r\n0\r\n\r\n", chunked), want: "bad body|400"},
	{name: "chunk and LF", section: "7.1", raw: post("5\r\nhello\n0\r\n\r\n", chunked), want: "bad body|400"},
	{name: "size and CR", section: "7.1", raw: post("5\rhello\r\n0\r\n\r\n", chunked), want: "bad body|400"},
	{name: "size and two CRs", section: "7.1", raw: post("5\r\r\nhello\r\n0\r\n\r\n", chunked), want: "bad body|400"},
	{name: "size 0x5", section: "7.1", raw: post("0x5\r\nhello\r\n0\r\n\r\n", chunked), want: "bad body|400"},
	{name: "size +5", section: "7.1", raw: post("+5\r\nhello\r\n0\r\n\r\n", chunked), want: "bad body|400"},
	{name: "size -5", section: "7.1", raw: post("-5\r\nhello\r\n0\r\n\r\n", chunked), want: "bad body|400"},
	{name: "size 5_0", section: "7.1", raw: post("0_5\r\nhello\r\n0\r\n\r\n", chunked), want: "bad body|400"},
	{name: "size in letters", section: "7.1", raw: post("x\r\nhello\r\n0\r\n\r\n", chunked), want: "bad body|400"},
	{name: "empty size", section: "7.1", raw: post("\r\nhello\r\n0\r\n\r\n", chunked), want: "bad body|400"},
	{name: "size of 17 digits", section: "7.1", raw: post("10000000000000005\r\nhello\r\n0\r\n\r\n", chunked), want: "bad body|400|413"},
	{name: "size above 63 bits", section: "7.1", raw: post("ffffffffffffffff\r\nhello\r\n0\r\n\r\n", chunked), want: "bad body|400|413"},
	{name: "more than the size", section: "7.1", raw: post("3\r\nhello\r\n0\r\n\r\n", chunked), want: "bad body|400"},
	{name: "less than the size", section: "7.1", raw: post("8\r\nhello\r\n0\r\n\r\n", chunked), want: "bad body|400"},
	{name: "no empty line in the end", section: "7.1", raw: post("5\r\nhello\r\n0\r\n", chunked), want: "bad body|400"},
	{name: "a LF for the last line", section: "7.1", raw: post("5\r\nhello\r\n0\r\n\n", chunked), want: "bad body|400|served"},
	{name: "last size and LF", section: "7.1", raw: post("5\r\nhello\r\n0\n\r\n", chunked), want: "bad body|400"},
	{name: "no last chunk", section: "8", raw: post("5\r\nhello\r\n", chunked), want: "bad body|400"},
	{name: "a request in a chunk", section: "7.1", raw: post("2e\r\n"+smuggled+"\r\n0\r\n\r\n", chunked), want: "served", body: smuggled},
	{name: "trailer", section: "7.1.2", raw: post("5\r\nhello\r\n0\r\nX: y\r\n\r\n", chunked, "Trailer: X"), want: "served", body: "hello"},
	{name: "trailer with a length", section: "RFC 9110, 6.5.1", raw: post("5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n", chunked), want: "served|bad body|400", body: "hello"},
	{name: "trailer with a Host", section: "RFC 9110, 6.5.1", raw: post("5\r\nhello\r\n0\r\nHost: evil.example\r\n\r\n", chunked), want: "served|bad body|400", body: "hello", host: "good.example"},
	{name: "trailer with chunked", section: "RFC 9110, 6.5.1", raw: post("5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", chunked), want: "served|bad body|400", body: "hello"},
	{name: "trailer with a blank before the colon", section: "5.1", raw: post("5\r\nhello\r\n0\r\nX : y\r\n\r\n", chunked), want: "bad body|400|served"},
	{name: "trailer that is none", section: "7.1.2", raw: post("5\r\nhello\r\n0\r\n"+smuggled, chunked), want: "bad body|400"},
}

// Connections: RFC 9112, section 9, and what RFC 9110 says of Expect.
var connectionCases = []headCase{
	{name: "close", section: "9.6", raw: get1("Connection: close"), want: "last"},
	{name: "Close", section: "9.6", raw: get1("Connection: Close"), want: "last"},
	{name: "keep-alive and close", section: "9.3", raw: get1("Connection: keep-alive, close"), want: "last"},
	{name: "close on a second line", section: "9.3", raw: get1("Connection: keep-alive", "Connection: close"), want: "last"},
	{name: "close among others", section: "9.6", raw: get1("Connection: x,\tclose ,y"), want: "last"},
	{name: "a word with close in it", section: "9.6", raw: get1("Connection: closed"), want: "served"},
	{name: "1.0", section: "9.3", raw: head("GET /first HTTP/1.0", "Host: good.example"), want: "last"},
	{name: "1.0 and keep-alive", section: "9.3", raw: head("GET /first HTTP/1.0", "Host: good.example", "Connection: keep-alive"), want: "served|last"},
	{name: "1.0 and Keep-Alive", section: "9.3", raw: head("GET /first HTTP/1.0", "Host: good.example", "Connection: Keep-Alive"), want: "served|last"},
	{name: "1.0, keep-alive and close", section: "9.3", raw: head("GET /first HTTP/1.0", "Host: good.example", "Connection: keep-alive, close"), want: "last"},
	{name: "1.0 and a body", section: "6.3", raw: head("POST /first HTTP/1.0", "Content-Length: 5") + "hello", want: "last", body: "hello"},
	{name: "empty line behind a body", section: "2.2", raw: post("hello", "Content-Length: 5") + "\r\n", want: "served", body: "hello"},
	{name: "empty line behind a chunked body", section: "2.2", raw: post(hello, chunked) + "\r\n", want: "served", body: "hello"},
	{name: "Expect and the body at once", section: "RFC 9110, 10.1.1", raw: post("hello", "Content-Length: 5", "Expect: 100-continue"), want: "served", body: "hello"},
	{name: "Expect in another case", section: "RFC 9110, 10.1.1", raw: post("hello", "Content-Length: 5", "Expect: 100-Continue"), want: "served", body: "hello"},
	{name: "Expect, 1.0", section: "RFC 9110, 10.1.1", raw: head("POST /first HTTP/1.0", "Content-Length: 5", "Expect: 100-continue") + "hello", want: "last", body: "hello"},
	{name: "Expect that nobody knows", section: "RFC 9110, 10.1.1", raw: post("hello", "Content-Length: 5", "Expect: tea"), want: "417|served"},
	{name: "Upgrade that nobody wants", section: "RFC 9110, 7.8", raw: get1("Connection: upgrade", "Upgrade: tea/1"), want: "served"},
	{name: "Upgrade to h2c", section: "RFC 9113, 3.1", raw: get1("Connection: upgrade, http2-settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), want: "served"},
	{name: "Connection names Host", section: "RFC 9110, 7.6.1", raw: get1("Connection: host, content-length"), want: "served|400", host: "good.example"},
	{name: "TE", section: "7.4", raw: get1("Connection: TE", "TE: trailers, chunked;q=0"), want: "served"},
}
