package fcgi

import (
	"io"
	"net/http"
	"time"
)

// SetVariable hands a variable to the web server, in the role of Authorizer and
// with a status of 200: section 6.3. The server adds it to the request that it
// lets pass. Header.Set would change the name's capitals.
func SetVariable(w http.ResponseWriter, name, value string) {
	w.Header()["Variable-"+name] = []string{value}
}

// FilterData is the file that a Filter is to filter: section 6.4. It reads as
// the FCGI_DATA stream; io.ErrUnexpectedEOF says that less came than Length.
type FilterData struct {
	io.Reader
	Length  int64     // negative: the web server did not say
	ModTime time.Time // when the file was changed last; zero: the web server did not say
}

// Data returns the file that is to be filtered. It returns nil in the other
// roles.
func Data(r *http.Request) *FilterData {
	req := requestOf(r.Context())
	if req == nil || req.data == nil {
		return nil
	}
	return &FilterData{req.data, req.params.dataLength, req.params.modTime}
}

// SetAppStatus sets the application status of a request, which is what a CGI
// program's exit status would be: 0 unless it is set. w is the handler's
// ResponseWriter, or one that has an Unwrap method for it. Web servers log it at
// best.
func SetAppStatus(w http.ResponseWriter, status uint32) {
	for {
		switch v := w.(type) {
		case *response:
			v.req.c.mu.Lock()
			defer v.req.c.mu.Unlock()
			v.req.appStatus = status
			return
		case interface{ Unwrap() http.ResponseWriter }:
			w = v.Unwrap()
		default:
			return
		}
	}
}
