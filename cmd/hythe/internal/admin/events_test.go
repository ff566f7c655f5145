package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
)

// still is a daemon in which nothing changes but what a test changes.
func still(change func(*status.Snapshot)) *fake {
	at := time.Now()
	return newFake().with(func(s *status.Snapshot) {
		*s = status.Snapshot{Version: "v1", Started: at, Now: at}
		if change != nil {
			change(s)
		}
	})
}

func TestEvents_OneASecondWithWhatHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pid int
		s := &site{board: board{src: still(func(s *status.Snapshot) { s.PID = pid })}}
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		begun, n := time.Now(), 0
		for e, err := range s.changes(ctx, nil) {
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took != time.Duration(n)*time.Second {
				t.Errorf("event %d after %v", n, took)
			}
			parts := make(map[string]string)
			if e.Data != "" {
				if err := json.Unmarshal([]byte(e.Data), &parts); err != nil {
					t.Fatal(err)
				}
			}
			switch n {
			case 0:
				if len(parts) != len(partNames)+1 || e.Retry == 0 || parts["title"] != "All is well – hythe" {
					t.Errorf("the first event has %d parts, %+v", len(parts), e)
				}
				pid = 4321
			case 1:
				if len(parts) != 1 || !strings.Contains(parts["head"], "process 4321") {
					t.Errorf("event 1: %v", parts)
				}
			case 2:
				if len(parts) != 0 {
					t.Errorf("nothing has changed, and there is %v", parts)
				}
				leave()
			}
			n++
		}
		if n != 3 {
			t.Errorf("%d events, but the client has left after 3", n)
		}
	})
}

// stream reads events of a real connection.
type stream struct {
	t *testing.T
	*bufio.Scanner
}

// next returns the data of the next event, and whether there is one.
func (s *stream) next() (parts map[string]string, ok bool) {
	s.t.Helper()
	for s.Scan() {
		if data, ok := strings.CutPrefix(s.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(data), &parts); err != nil {
				s.t.Fatal(err)
			}
			return parts, true
		}
	}
	return nil, false
}

func TestEvents_EndInPeaceWithTheDrain(t *testing.T) {
	url, srv := serve(t, Handler(newFake(), Options{Loopback: true}))
	tr := new(http.Transport)
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(url + "events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Error(got)
	}
	s := &stream{t, bufio.NewScanner(resp.Body)}
	s.Buffer(nil, 1<<20)
	var heads []string
	for range 3 {
		parts, ok := s.next()
		if !ok {
			t.Fatal(s.Err())
		}
		heads = append(heads, parts["head"])
	}
	if heads[0] == "" || heads[0] == heads[1] || heads[1] == heads[2] {
		t.Errorf("the head does not change: %q", heads)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	report, err := srv.Drain(ctx)
	if err != nil || len(report.Cut) > 0 {
		t.Errorf("drain: %v, %v", report, err)
	}
	for {
		if _, ok := s.next(); !ok {
			break
		}
	}
	if s.Err() != nil {
		t.Errorf("the stream was cut off: %v", s.Err())
	}
}

func TestEvents_ClientsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := Handler(newFake(), Options{Loopback: true})
		ctx, leave := context.WithCancel(t.Context())
		for range maxClients {
			go get(h, "/events", func(r *http.Request) { *r = *r.WithContext(ctx) })
		}
		synctest.Wait()
		if w := get(h, "/events"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("one too many: %d", w.Code)
		}
		if w := get(h, "/"); w.Code != 200 {
			t.Errorf("the page: %d", w.Code)
		}
		leave()
		synctest.Wait()
		again, leaveAgain := context.WithCancel(t.Context())
		time.AfterFunc(2500*time.Millisecond, leaveAgain)
		if w := get(h, "/events", func(r *http.Request) { *r = *r.WithContext(again) }); w.Code != 200 || strings.Count(w.Body.String(), "data: ") != 3 {
			t.Errorf("when they have left: %d, %d events", w.Code, strings.Count(w.Body.String(), "data: "))
		}
	})
}

func TestEvents_HeadHasNoEnd(t *testing.T) {
	w := ask(Handler(newFake(), Options{Loopback: true}), "HEAD", "/events")
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/event-stream" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}
