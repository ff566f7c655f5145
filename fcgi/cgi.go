package fcgi

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// What the parameters say: CGI's meta-variables, RFC 3875, section 4.1, as web
// servers really send them.

// params are the parameters of a request, as they came.
type params struct {
	pairs      string
	count      int
	fields     int   // those that become header fields
	length     int64 // CONTENT_LENGTH; negative: unknown
	dataLength int64 // FCGI_DATA_LENGTH; negative: unknown
	modTime    time.Time
}

var errParams = errors.New("fcgi: malformed parameter")

// scanParams takes the pairs apart once, to see that they can be.
func scanParams(all string) (p params, err error) {
	p = params{pairs: all, length: -1, dataLength: -1}
	for rest := all; len(rest) > 0; p.count++ {
		var name, value string
		if name, value, rest, err = cutPair(rest); err != nil {
			return p, err
		}
		if !isFieldValue(value) || strings.IndexByte(name, 0) >= 0 {
			return p, errParams
		}
		if strings.HasPrefix(name, "HTTP_") {
			p.fields++
			continue
		}
		switch name {
		case "CONTENT_LENGTH":
			p.length, err = parseLength(value)
		case "FCGI_DATA_LENGTH":
			p.dataLength, err = parseLength(value)
		case "FCGI_DATA_LAST_MOD":
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				p.modTime = time.Unix(n, 0)
			}
		}
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

// parseLength reads a length, negative if it is unknown: servers that do not
// know it send an empty one, -1, or none.
func parseLength(s string) (int64, error) {
	if s == "" || s == "-1" {
		return -1, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || s[0] == '+' {
		return 0, errParams
	}
	return int64(n), nil
}

// newRequest makes an http.Request of the parameters. It returns the status to
// refuse them with, or zero. Of two parameters with the same name the last one
// counts.
func (req *request) newRequest() (r *http.Request, status int) {
	var (
		method            = http.MethodGet
		proto             = "HTTP/1.1"
		https, scheme     string
		uri, host         string
		script, path      string
		query             string
		server, port      string
		remote, remPort   string
		contentType, size string
	)
	header := make(http.Header, req.params.fields+2)
	values := make([]string, 0, req.params.fields+2)
	add := func(key, value string) {
		values = append(values, value)
		header[key] = values[len(values)-1 : len(values) : len(values)]
	}
	for rest := req.params.pairs; len(rest) > 0; {
		var name, value string
		name, value, rest, _ = cutPair(rest)
		switch name {
		case "REQUEST_METHOD":
			method = value
		case "SERVER_PROTOCOL":
			proto = value
		case "REQUEST_URI":
			uri = value
		case "SCRIPT_NAME":
			script = value
		case "PATH_INFO":
			path = value
		case "QUERY_STRING":
			query = value
		case "SERVER_NAME":
			server = value
		case "SERVER_PORT":
			port = value
		case "REMOTE_ADDR":
			remote = value
		case "REMOTE_PORT":
			remPort = value
		case "HTTPS":
			https = value
		case "REQUEST_SCHEME":
			scheme = value
		case "CONTENT_TYPE":
			contentType = value
		case "CONTENT_LENGTH":
			size = value
		case "HTTP_HOST":
			host = value
		case "HTTP_PROXY", // httpoxy.org
			"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", // they have names of their own
			"HTTP_TRANSFER_ENCODING": // STDIN is the framing
		default:
			if after, ok := strings.CutPrefix(name, "HTTP_"); ok {
				if key := fieldName(after); key != "" {
					add(key, value)
				}
			}
		}
	}
	if contentType != "" {
		add("Content-Type", contentType)
	}
	if req.params.length >= 0 && size != "0" {
		add("Content-Length", size)
	}
	if !isToken(method) {
		return nil, http.StatusBadRequest
	}
	secure := isTrue(https) || strings.EqualFold(scheme, "https")
	if host == "" {
		if host = server; host != "" && port != "" && port != "80" && port != "443" {
			host = joinHostPort(host, port)
		}
	}
	if !isHost(host) {
		return nil, http.StatusBadRequest
	}
	u, uri, ok := requestURL(&req.url, uri, script, path, query)
	if !ok {
		return nil, http.StatusBadRequest
	}
	major, minor, ok := http.ParseHTTPVersion(proto)
	if !ok {
		proto, major, minor = "HTTP/1.1", 1, 1
	}
	base := http.Request{
		Method:        method,
		URL:           u,
		Proto:         proto,
		ProtoMajor:    major,
		ProtoMinor:    minor,
		Header:        header,
		Body:          &req.stdin,
		ContentLength: req.params.length,
		Host:          host,
		RemoteAddr:    remoteAddr(remote, remPort),
		RequestURI:    uri,
	}
	switch {
	case req.stdin.isEmpty():
		base.Body, base.ContentLength = http.NoBody, 0
	case req.params.length < 0:
		base.TransferEncoding = []string{"chunked"}
	}
	u.Host, u.Scheme = host, "http"
	if secure {
		u.Scheme = "https"
		base.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	return base.WithContext(req.context()), 0
}

// requestURL fills u with what was asked for: the REQUEST_URI if there is one,
// otherwise the path and the query in pieces. uri is what the request line
// would have said.
func requestURL(u *url.URL, raw, script, path, query string) (_ *url.URL, uri string, ok bool) {
	p, q, _ := strings.Cut(raw, "?")
	switch {
	case isPlainPath(p):
		u.Path, u.RawQuery = p, q
		return u, raw, true
	case raw == "*":
		u.Path = raw
		return u, raw, true
	case raw != "" && (raw[0] == '/' || strings.Contains(raw, "://")):
		parsed, err := url.ParseRequestURI(raw)
		if err != nil {
			return nil, "", false
		}
		return parsed, raw, true
	}
	u.Path, u.RawQuery = script+path, query
	if u.Path == "" || u.Path[0] != '/' {
		u.Path = "/" + u.Path
	}
	return u, u.RequestURI(), true
}

// isPlainPath reports whether a path means itself, in a URL as well as decoded.
func isPlainPath(p string) bool {
	if p == "" || p[0] != '/' {
		return false
	}
	for i := range len(p) {
		switch b := p[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		case b == '/', b == '-', b == '_', b == '.', b == '~':
		default:
			return false
		}
	}
	return true
}

// isTrue reports whether HTTPS says that it is. Some servers always send it.
func isTrue(s string) bool {
	return strings.EqualFold(s, "on") || s == "1" || strings.EqualFold(s, "true")
}

// isHost reports whether s may be a Host: something that in a URL is nothing but
// its host and port. An empty one may.
func isHost(s string) bool {
	for i := range len(s) {
		switch b := s[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		case strings.IndexByte("-._~!$&'()*+,;=:[]%", b) >= 0:
		default:
			return false
		}
	}
	return true
}

func joinHostPort(host, port string) string {
	if strings.HasPrefix(host, "[") {
		return host + ":" + port
	}
	return net.JoinHostPort(host, port)
}

// remoteAddr is the client's address. It is empty if the client has none, as on
// a Unix socket.
func remoteAddr(host, port string) string {
	if host == "" || strings.HasPrefix(host, "unix:") {
		return ""
	}
	if port == "" {
		port = "0"
	}
	return joinHostPort(host, port)
}

// fieldName makes a header field's canonical name of the rest of a parameter's,
// behind HTTP_. It returns "" if it is no name.
func fieldName(s string) string {
	if known := commonField(s); known != "" {
		return known
	}
	if !isToken(s) {
		return ""
	}
	b := []byte(s)
	upper := true
	for i, c := range b {
		switch {
		case c == '_':
			b[i] = '-'
		case 'A' <= c && c <= 'Z' && !upper:
			b[i] = c + 'a' - 'A'
		case 'a' <= c && c <= 'z' && upper:
			b[i] = c - 'a' + 'A'
		}
		upper = b[i] == '-'
	}
	return string(b)
}

// commonField is fieldName for the fields that most requests have.
func commonField(s string) string {
	switch s {
	case "ACCEPT":
		return "Accept"
	case "ACCEPT_CHARSET":
		return "Accept-Charset"
	case "ACCEPT_ENCODING":
		return "Accept-Encoding"
	case "ACCEPT_LANGUAGE":
		return "Accept-Language"
	case "AUTHORIZATION":
		return "Authorization"
	case "CACHE_CONTROL":
		return "Cache-Control"
	case "CONNECTION":
		return "Connection"
	case "COOKIE":
		return "Cookie"
	case "DNT":
		return "Dnt"
	case "FORWARDED":
		return "Forwarded"
	case "IF_MODIFIED_SINCE":
		return "If-Modified-Since"
	case "IF_NONE_MATCH":
		return "If-None-Match"
	case "ORIGIN":
		return "Origin"
	case "PRAGMA":
		return "Pragma"
	case "PRIORITY":
		return "Priority"
	case "RANGE":
		return "Range"
	case "REFERER":
		return "Referer"
	case "SEC_CH_UA":
		return "Sec-Ch-Ua"
	case "SEC_CH_UA_MOBILE":
		return "Sec-Ch-Ua-Mobile"
	case "SEC_CH_UA_PLATFORM":
		return "Sec-Ch-Ua-Platform"
	case "SEC_FETCH_DEST":
		return "Sec-Fetch-Dest"
	case "SEC_FETCH_MODE":
		return "Sec-Fetch-Mode"
	case "SEC_FETCH_SITE":
		return "Sec-Fetch-Site"
	case "SEC_FETCH_USER":
		return "Sec-Fetch-User"
	case "UPGRADE_INSECURE_REQUESTS":
		return "Upgrade-Insecure-Requests"
	case "USER_AGENT":
		return "User-Agent"
	case "VIA":
		return "Via"
	case "X_FORWARDED_FOR":
		return "X-Forwarded-For"
	case "X_FORWARDED_HOST":
		return "X-Forwarded-Host"
	case "X_FORWARDED_PROTO":
		return "X-Forwarded-Proto"
	case "X_REAL_IP":
		return "X-Real-Ip"
	case "X_REQUESTED_WITH":
		return "X-Requested-With"
	case "X_REQUEST_ID":
		return "X-Request-Id"
	}
	return ""
}
