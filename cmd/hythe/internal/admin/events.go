package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"
	"maps"
	"net/http"
	"time"

	"github.com/hythe-go/hythe/httpd"
)

const (
	// maxClients is how many may listen to the events at once.
	maxClients = 32

	// every is how often they hear of something.
	every = time.Second
)

// events sends the parts of the page that have changed, once a second, until the
// client leaves or the connection's server drains. Each event is a JSON object:
// the new HTML of parts, by their ids. The first has all of them.
func (s *site) events(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		httpd.SetEventHeader(w.Header())
		return
	}
	select {
	case s.seats <- struct{}{}:
		defer func() { <-s.seats }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many clients listen already", http.StatusServiceUnavailable)
		return
	}
	var draining <-chan struct{}
	if c := httpd.ConnOf(r.Context()); c != nil {
		draining = c.Draining()
	}
	// The error says that the client has left, which the connection's reason
	// tells as well.
	_ = httpd.Events(w, r, s.changes(r.Context(), draining))
}

// changes yields an event a second, a mere sign of life when nothing has changed.
func (s *site) changes(ctx context.Context, draining <-chan struct{}) iter.Seq2[httpd.Event, error] {
	return func(yield func(httpd.Event, error) bool) {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		sent := make(map[string]string)
		for {
			parts, err := s.board.parts()
			if err != nil {
				yield(httpd.Event{}, err)
				return
			}
			var e httpd.Event
			changed := maps.Clone(parts)
			maps.DeleteFunc(changed, func(id, html string) bool { return sent[id] == html })
			if len(sent) == 0 {
				e.Retry = 2 * time.Second
			}
			if len(changed) > 0 {
				e.Data = encode(changed)
			}
			sent = parts
			if !yield(e, nil) {
				return
			}
			select {
			case <-ticker.C:
			case <-draining:
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// encode returns HTML by ids as JSON, without a detour for < and >.
func encode(parts map[string]string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.Encode(parts) // strings have no way to fail
	return string(bytes.TrimSpace(b.Bytes()))
}
