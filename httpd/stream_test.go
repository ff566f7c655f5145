package httpd_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/httpd"
)

// streamed answers with chunks, and says what Stream has returned.
func streamed(chunks iter.Seq2[[]byte, error], returned chan error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { returned <- httpd.Stream(w, r, chunks) }
}

func TestStream_AsksForAChunkWhenTheLastHasLeft(t *testing.T) {
	asked := make(chan int, 100)
	chunks := func(yield func([]byte, error) bool) {
		b := make([]byte, 1)
		for i := range 5 {
			asked <- i
			b[0] = byte('a' + i) // the chunk before is not used any more
			if !yield(b, nil) {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	returned := make(chan error, 1)
	c := dialRaw(t, startSite(t, streamed(chunks, returned), nil))
	c.send(fmt.Sprintf(get, "x"))
	resp, err := http.ReadResponse(c.r, nil) // the header is there at once
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	for i := range 5 {
		if _, err := io.ReadFull(resp.Body, b); err != nil || b[0] != byte('a'+i) {
			t.Fatalf("chunk %d: %q, %v", i, b, err)
		}
		if got := <-asked; got != i {
			t.Errorf("chunk %d came after %d was asked for", i, got)
		}
	}
	if err := <-returned; err != nil {
		t.Error(err)
	}
}

func TestStream_SendsTheHeaderBeforeTheFirstChunk(t *testing.T) {
	release := make(chan bool)
	chunks := func(yield func([]byte, error) bool) { <-release }
	returned := make(chan error, 1)
	c := dialRaw(t, startSite(t, streamed(chunks, returned), nil))
	c.send(fmt.Sprintf(get, "x"))
	if _, err := http.ReadResponse(c.r, nil); err != nil {
		t.Error(err)
	}
	close(release)
	<-returned
}

func TestStream_AClientThatNeverReadsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var produced atomic.Int64
		returned := make(chan error, 1)
		chunks := func(yield func([]byte, error) bool) {
			for yield(make([]byte, 8<<10), nil) {
				produced.Add(8 << 10)
			}
		}
		c := inMemory(t, &hythe.Server{Service: &httpd.Server{Handler: streamed(chunks, returned)}})()
		c.send(fmt.Sprintf(get, "x"))
		synctest.Wait()
		if n := produced.Load(); n == 0 || n > 512<<10 {
			t.Errorf("%d bytes were made for a client that reads none", n)
		}
		if err := <-returned; err == nil { // WriteStall
			t.Error("Stream returned nil")
		}
		c.nc.Close()
	})
}

func TestStream_ReturnsWhenTheClientLeaves(t *testing.T) {
	returned := make(chan error, 1)
	chunks := func(yield func([]byte, error) bool) {
		for yield([]byte("tick"), nil) {
			time.Sleep(time.Millisecond)
		}
	}
	c := dialRaw(t, startSite(t, streamed(chunks, returned), nil))
	c.send(fmt.Sprintf(get, "x"))
	c.r.ReadString('\n')
	c.nc.Close()
	if err := wait(t, returned, "Stream to return"); err == nil {
		t.Error("Stream returned nil")
	}
}

// broken are two chunks, and then an error.
func broken(yield func([]byte, error) bool) {
	for _, s := range []string{"one ", "two "} {
		if !yield([]byte(s), nil) {
			return
		}
	}
	yield(nil, errors.New("no more"))
}

func TestStream_AnErrorIsSeenByTheClient(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpd.Stream(w, r, broken)
		t.Error("Stream returned")
	})
	at := startSite(t, h, nil)
	for version, want := range map[string]error{"1.1": io.ErrUnexpectedEOF, "1.0": nil} {
		nc := dial(t, at)
		io.WriteString(nc, "GET /x HTTP/"+version+"\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			if version == "1.0" {
				continue // cut off so hard that nothing came
			}
			t.Fatal(version, err)
		}
		got, err := io.ReadAll(resp.Body)
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("HTTP/%s: %q, %v", version, got, err)
		}
	}
}

func TestStream_HTTP2(t *testing.T) {
	overHTTP2(t, func(t *testing.T, start func(*httpd.Server) (*http.Client, string, func() (hythe.Report, error))) {
		var produced atomic.Int64
		returned := make(chan error, 1)
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/broken":
				httpd.Stream(w, r, broken)
			case "/endless":
				returned <- httpd.Stream(w, r, func(yield func([]byte, error) bool) {
					for yield(make([]byte, 8<<10), nil) {
						produced.Add(8 << 10)
					}
				})
			default:
				httpd.Stream(w, r, func(yield func([]byte, error) bool) {
					for i := range 3 {
						if !yield(fmt.Appendf(nil, "%d ", i), nil) {
							return
						}
					}
				})
			}
		})
		client, at, stop := start(&httpd.Server{Handler: h})
		if resp, got := getBody(t, client, at+"/"); got != "0 1 2 " || resp.ProtoMajor != 2 {
			t.Errorf("%s %q", resp.Proto, got)
		}
		if resp, err := client.Get(at + "/broken"); err == nil {
			if got, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("the client takes %q for the whole", got)
			}
			resp.Body.Close()
		}
		resp, err := client.Get(at + "/endless")
		if err != nil {
			t.Fatal(err)
		}
		last := int64(-1)
		for end := time.Now().Add(patience); produced.Load() != last && time.Now().Before(end); {
			last = produced.Load()
			time.Sleep(100 * time.Millisecond)
		}
		if n := produced.Load(); n > 8<<20 { // the client's own buffer is 4 MiB
			t.Errorf("%d bytes were made for a client that reads none", n)
		}
		resp.Body.Close()
		if err := wait(t, returned, "Stream to return"); err == nil {
			t.Error("Stream returned nil to a client that left")
		}
		client.CloseIdleConnections()
		stop()
	})
}

func TestEvent_Append(t *testing.T) {
	for _, c := range []struct {
		e    httpd.Event
		want string
	}{
		{httpd.Event{}, ":\n\n"},
		{httpd.Event{Data: "x"}, "data: x\n\n"},
		{httpd.Event{Data: "a\nb\r\nc\rd"}, "data: a\ndata: b\ndata: c\ndata: d\n\n"},
		{httpd.Event{ID: "1", Type: "t", Data: "x", Retry: 1500 * time.Millisecond}, "id: 1\nevent: t\nretry: 1500\ndata: x\n\n"},
		{httpd.Event{ID: "1\ndata: y", Type: "a\rb"}, "id: 1data: y\nevent: ab\ndata: \n\n"},
	} {
		if got := string(c.e.Append(nil)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.e, got, c.want)
		}
	}
}

// parseEvent reads one event as a browser does, and reports fields that are
// unknown or come twice.
func parseEvent(s string) (e httpd.Event, wrong string) {
	var data []string
	seen := map[string]int{}
	// A line ends with CR LF, LF or CR.
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s)
	body, rest, _ := strings.Cut(s, "\n\n")
	if rest != "" {
		return e, "more than one event"
	}
	for line := range strings.SplitSeq(body, "\n") {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		seen[name]++
		switch name {
		case "id":
			e.ID = value
		case "event":
			e.Type = value
		case "data":
			data = append(data, value)
		default:
			return e, "field " + name
		}
	}
	e.Data = strings.Join(data, "\n")
	if seen["id"] > 1 || seen["event"] > 1 {
		return e, "a field comes twice"
	}
	return e, ""
}

// Whatever its values are, an event is read as the one that it was.
func FuzzEvent(f *testing.F) {
	f.Add("1", "tick", "a\nb")
	f.Add("1\ndata: forged", "x\r\n\r\nid: 2", "a\r\n\r\nevent: b")
	f.Add("\x00", " lead", " lead\n")
	f.Fuzz(func(t *testing.T, id, kind, data string) {
		oneLine := strings.NewReplacer("\r", "", "\n", "", "\x00", "")
		want := httpd.Event{ID: oneLine.Replace(id), Type: oneLine.Replace(kind), Data: strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(data)}
		e := httpd.Event{ID: id, Type: kind, Data: data}
		if e == (httpd.Event{}) {
			return
		}
		if got, wrong := parseEvent(string(e.Append(nil))); wrong != "" || got != want {
			t.Errorf("%+v is read as %+v: %s", want, got, wrong)
		}
	})
}

func TestEvents_AreSentAsTheyCome(t *testing.T) {
	release := make(chan bool)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpd.Events(w, r, func(yield func(httpd.Event, error) bool) {
			for i := range 2 {
				if !yield(httpd.Event{Data: fmt.Sprint(i)}, nil) {
					return
				}
				<-release
			}
		})
	})
	c := dialRaw(t, startSite(t, h, nil))
	c.send(fmt.Sprintf(get, "x"))
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatal(resp, err)
	}
	body := bufio.NewReader(resp.Body)
	for i := range 2 {
		if line, err := body.ReadString('\n'); err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("%q, %v", line, err)
		}
		body.ReadString('\n')
		release <- true
	}
	if _, err := body.ReadByte(); err != io.EOF {
		t.Error(err)
	}
}
