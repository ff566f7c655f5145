// Http-sse tells the time to browsers by server-sent events, to thousands of
// them at once. It shows detached answers, which go on without a goroutine, and
// one loop that sends to all of them and waits for none.
//
//	go run ./examples/http-sse
//	curl -N http://127.0.0.1:7000/clock
//
// or open http://127.0.0.1:7000/ in a browser. With -conns 20000 and a descriptor
// limit to match there may be as many.
package main

import (
	"context"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

const page = `<!DOCTYPE html>
<title>Clock</title>
<p id="clock">…</p>
<script>
new EventSource("/clock").onmessage = e => document.getElementById("clock").textContent = e.data
</script>
`

// A clock has everybody who listens to it.
type clock struct {
	mu   sync.Mutex
	outs map[*httpd.Out]bool // guarded by mu
}

// ServeHTTP adds a listener. The answer goes on when it has returned.
func (c *clock) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	httpd.SetEventHeader(w.Header())
	out, err := httpd.Detach(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	c.mu.Lock()
	c.outs[out] = true
	c.mu.Unlock()
	out.TryWrite(event(time.Now()))
}

// event has a browser come back after five seconds if the connection is lost.
func event(now time.Time) []byte {
	return httpd.Event{Data: now.Format(time.RFC3339), Retry: 5 * time.Second}.Append(nil)
}

// tick tells everybody what time it is, and forgets those who have left.
func (c *clock) tick(now time.Time) {
	e := event(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	for out := range c.outs {
		if !out.TryWrite(e) && out.Err() != nil { // who only does not read misses the time
			delete(c.outs, out)
		}
	}
}

func newServer(conns int) (*hythe.Server, *clock) {
	c := &clock{outs: make(map[*httpd.Out]bool)}
	mux := http.NewServeMux()
	mux.Handle("GET /clock", c)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, page) })
	return &hythe.Server{
		Service: &httpd.Server{Handler: mux},
		Limits:  hythe.Limits{Conns: conns, HighWater: 16 << 10}, // who is so far behind has gone
	}, c
}

func main() {
	endpoint := flag.String("listen", "tcp://127.0.0.1:7000", "where to listen")
	conns := flag.Int("conns", 0, "how many connections there may be; 0: most of the descriptor limit")
	every := flag.Duration("every", time.Second, "how often the time is told")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	srv, clock := newServer(*conns)
	srv.OnListen = func(a net.Addr) { log.Print("listening on ", a) }
	go func() { // as long as the process
		for now := range time.Tick(*every) {
			clock.tick(now)
		}
	}()
	if err := srv.ListenAndServe(ctx, *endpoint); err != nil {
		log.Fatal(err)
	}
}
