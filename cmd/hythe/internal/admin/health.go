package admin

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
)

// alive says that the process answers, and nothing more. Anybody may ask.
func alive(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "ok")
}

// ready says whether the daemon can do its work. Anybody may ask, since who
// watches often cannot log in; why not is for those only who are let in.
func (s *site) ready(w http.ResponseWriter, r *http.Request) {
	snap := s.src.Snapshot()
	reasons := unready(&snap)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	switch {
	case len(reasons) == 0:
		fmt.Fprintln(w, "ready")
		return
	case s.guard.check(r) != nil:
		reasons = nil
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintln(w, strings.Join(append([]string{"not ready"}, reasons...), "\n"))
}

// unready returns why the daemon cannot do its work; nothing if it can.
func unready(s *status.Snapshot) (reasons []string) {
	for _, p := range s.Problems {
		if p.Bad {
			reasons = append(reasons, p.Part+": "+p.What)
		}
	}
	if s.Draining && len(reasons) == 0 {
		reasons = append(reasons, "daemon: draining")
	}
	return reasons
}
