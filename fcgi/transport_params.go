package fcgi

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

// head makes the records that begin a request: BEGIN_REQUEST and PARAMS.
func (t *Transport) head(r *http.Request, length int64) ([]byte, error) {
	p := t.params(r, length)
	if t.Params != nil {
		t.Params(r, p)
	}
	var pairs []byte
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if value := p[name]; name == "" || !isFieldValue(name) || !isFieldValue(value) {
			return nil, fmt.Errorf("%w %q", errParams, name)
		}
		pairs = appendPair(pairs, name, p[name])
	}
	var flags uint8
	if t.idlePerAddress() > 0 {
		flags = flagKeepConn
	}
	b := appendBegin(nil, clientID, roleResponder, flags)
	b = appendStream(b, typeParams, clientID, pairs)
	return appendHeader(b, typeParams, clientID, 0), nil
}

// params makes CGI's variables of a request: RFC 3875, section 4.1, and those
// that web servers add.
func (t *Transport) params(r *http.Request, length int64) map[string]string {
	script, info := t.script(r)
	p := map[string]string{
		"GATEWAY_INTERFACE": "CGI/1.1",
		"SERVER_SOFTWARE":   "hythe",
		"SERVER_PROTOCOL":   "HTTP/1.1",
		"REQUEST_METHOD":    r.Method,
		"REQUEST_URI":       r.URL.RequestURI(),
		"DOCUMENT_URI":      script + info,
		"QUERY_STRING":      r.URL.RawQuery,
		"SCRIPT_NAME":       script,
		"REDIRECT_STATUS":   "200", // php-cgi wants it
		"REMOTE_ADDR":       "127.0.0.1",
		"SERVER_PORT":       "80",
	}
	if r.Method == "" {
		p["REQUEST_METHOD"] = http.MethodGet
	}
	if t.Root != "" {
		p["DOCUMENT_ROOT"] = t.Root
		p["SCRIPT_FILENAME"] = path.Join(t.Root, script)
	}
	if info != "" {
		p["PATH_INFO"] = info
		if t.Root != "" {
			p["PATH_TRANSLATED"] = path.Join(t.Root, path.Clean("/"+info))
		}
	}
	if r.URL.Scheme == "https" {
		p["HTTPS"], p["REQUEST_SCHEME"], p["SERVER_PORT"] = "on", "https", "443"
	} else {
		p["REQUEST_SCHEME"] = "http"
	}
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	p["HTTP_HOST"], p["SERVER_NAME"] = host, host
	if name, port, err := net.SplitHostPort(host); err == nil {
		p["SERVER_NAME"], p["SERVER_PORT"] = name, port
	}
	if addr, port, err := net.SplitHostPort(r.RemoteAddr); err == nil { // of a request that is passed on
		p["REMOTE_ADDR"], p["REMOTE_PORT"] = addr, port
	}
	if length > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
		p["CONTENT_LENGTH"] = strconv.FormatInt(length, 10)
	}
	if ct := r.Header.Get("Content-Type"); ct != "" {
		p["CONTENT_TYPE"] = ct
	}
	for name, values := range r.Header {
		if variable := variableName(name); variable != "" {
			sep := ", "
			if name == "Cookie" {
				sep = "; "
			}
			p[variable] = strings.Join(values, sep)
		}
	}
	return p
}

// script splits the path of a request. Both parts are without "..": nothing
// above Root is named.
func (t *Transport) script(r *http.Request) (script, info string) {
	if t.Script != nil {
		script, info = t.Script(r)
		return path.Clean("/" + script), info
	}
	clean := path.Clean("/" + r.URL.Path)
	if strings.HasSuffix(r.URL.Path, "/") && clean != "/" {
		clean += "/"
	}
	switch before, after, found := strings.Cut(clean, ".php"); {
	case found && (after == "" || after[0] == '/'):
		return before + ".php", after
	case t.Index != "":
		return path.Clean("/" + t.Index), clean
	}
	return clean, ""
}

// variableName returns the name of a header field's parameter. It returns "" for
// fields that have one of their own or are not passed on: those of a single
// connection, Proxy, which a CGI program would take for its operator's word
// (httpoxy.org), and names that would be mistaken for others'.
func variableName(field string) string {
	switch field {
	case "Content-Type", "Content-Length", "Host", "Proxy", "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return ""
	}
	if !isToken(field) || strings.Contains(field, "_") {
		return ""
	}
	return "HTTP_" + strings.ToUpper(strings.ReplaceAll(field, "-", "_"))
}
