package httpd_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hythe-go/hythe/httpd"
)

// Tables are swapped as fast as can be under clients that ask as fast as they
// can, several requests in one segment. Every request is answered by one version
// of the table: not an older one than was in force when it was sent, and the
// same all through.
func TestSwapUnderLoad(t *testing.T) {
	table := new(httpd.Table)
	var newest atomic.Int64
	version := func(n int64) []httpd.Route {
		name := strconv.FormatInt(n, 10)
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			route, _ := httpd.RouteOf(r)
			fmt.Fprint(w, name, " ", route.Name, " ", r.PathValue("x"))
		})
		list := []httpd.Route{{Name: name, Pattern: "/pattern/{x}", Handler: h}}
		if n%2 == 0 { // tables of both kinds follow each other
			list = append(list, httpd.Route{Name: name, Pattern: "~^/nothing$", Handler: h})
		}
		return list
	}
	swap := func() {
		n := newest.Load() + 1
		if _, err := table.Swap(version(n)); err != nil {
			t.Error(err)
		}
		newest.Store(n) // in force from here on
	}
	swap()
	at := startSite(t, table, nil)

	const clients, depth = 8, 8
	stop := make(chan struct{})
	var asked, answered atomic.Int64
	var all sync.WaitGroup
	for range clients {
		nc := dial(t, at)
		all.Go(func() {
			br := bufio.NewReader(nc)
			for id := 0; ; id++ {
				select {
				case <-stop:
					return
				default:
				}
				oldest := newest.Load()
				var batch []byte
				for i := range depth {
					batch = fmt.Appendf(batch, "GET /pattern/%d-%d HTTP/1.1\r\nHost: a\r\n\r\n", id, i)
				}
				asked.Add(depth)
				if _, err := nc.Write(batch); err != nil {
					t.Error(err)
					return
				}
				for i := range depth {
					resp, err := http.ReadResponse(br, nil)
					if err != nil {
						t.Error(err)
						return
					}
					body, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					var inside, name int64
					var x string
					fmt.Sscan(string(body), &inside, &name, &x)
					if err != nil || resp.StatusCode != 200 || inside != name || inside < oldest || inside > newest.Load()+1 || x != fmt.Sprintf("%d-%d", id, i) {
						t.Errorf("request %d-%d, sent under version %d: %d %q, %v", id, i, oldest, resp.StatusCode, body, err)
						return
					}
					oldest = inside // and it never goes back
					answered.Add(1)
				}
			}
		})
	}
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		swap()
	}
	close(stop)
	all.Wait()
	if asked.Load() != answered.Load() {
		t.Errorf("%d requests, %d answers", asked.Load(), answered.Load())
	}
	t.Logf("%d requests under %d tables", asked.Load(), newest.Load())
}
