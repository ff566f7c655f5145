package faults

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/faultnet"
)

// chain is the configuration of an output to another relay.
func chain(addr string) string {
	return "[output.up]\nto = \"tcp://" + addr + "\"\nframing = \"hythe\"\ntimeout = \"1s\"\nretry = \"20ms\"\nretry_max = \"100ms\"\n[route.all]\nto = [\"up\"]\n"
}

// Two relays, with a network between them that is slow, stops without a word and
// resets, and both of them killed: with framing hythe nothing is lost.
func TestChain_LosesNothingWhateverHappens(t *testing.T) {
	up := newSink(t)
	second := newDaemon(t, lines(up.addr))
	second.start()
	net := faultnet.New(t, second.frames)
	first := newDaemon(t, chain(net.Addr()))
	first.start()

	ctx, cancel := context.WithCancel(t.Context())
	acked := first.load(ctx, 4, 20)
	for round := range 12 {
		time.Sleep(100*time.Millisecond + rand.N(100*time.Millisecond))
		switch round % 6 {
		case 0:
			net.Reset()
		case 1:
			net.Stop(faultnet.Both) // longer than the clock of acknowledgements
			time.Sleep(1500 * time.Millisecond)
			net.Resume()
		case 2:
			second.kill()
			second.start()
		case 3:
			net.SetRate(1 << 20)
		case 4:
			net.SetRate(0)
			first.kill()
			first.start()
		case 5:
			net.ResetAfter(1 << rand.IntN(18))
			net.Reset()
			time.Sleep(100 * time.Millisecond)
			net.ResetAfter(0)
		}
	}
	cancel()
	sent := acked()
	first.settled("up", 30*time.Second)
	second.settled("up", 30*time.Second)
	first.stop()
	second.stop()
	missing, twice := up.missing(sent)
	t.Logf("%d acknowledged, %d lost, %d twice", len(sent), len(missing), twice)
	if len(missing) > 0 || len(sent) == 0 {
		t.Errorf("%d of %d lost, as %v", len(missing), len(sent), missing[:min(3, len(missing))])
	}
}

// An upstream that takes connections and closes them at once is not hammered.
func TestFlap_AttemptsAreBounded(t *testing.T) {
	up := newSink(t)
	second := newDaemon(t, lines(up.addr))
	second.start()
	net := faultnet.New(t, second.frames)
	net.Refuse(true)
	d := newDaemon(t, strings.Replace(chain(net.Addr()), `retry_max = "100ms"`, `retry_max = "1s"`, 1))
	d.start()
	s := &sender{name: "s", url: "http://" + d.http + "/in", batch: 1000}
	if err := s.post(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(4 * time.Second)
	if n := net.Accepted(); n < 2 || n > 40 {
		t.Errorf("%d attempts in 4 s", n)
	}
	net.Refuse(false)
	d.settled("up", 10*time.Second)
	second.settled("up", 10*time.Second)
	d.stop()
	second.stop()
	if missing, _ := up.missing(s.acked); len(missing) > 0 {
		t.Errorf("%d lost", len(missing))
	}
}

// While one output is slow, the other one of the same route is not.
func TestSlow_OthersGoOn(t *testing.T) {
	slow, fast := newSink(t), newSink(t)
	net := faultnet.New(t, slow.addr)
	net.SetBuffer(64 << 10)
	net.SetRate(64 << 10)
	d := newDaemon(t, fmt.Sprintf("[output.slow]\nto = \"tcp://%s\"\n[output.fast]\nto = \"tcp://%s\"\n[route.all]\nto = [\"slow\", \"fast\"]\n", net.Addr(), fast.addr))
	d.start()
	s := &sender{name: strings.Repeat("x", 200), url: "http://" + d.http + "/in", batch: 1000}
	for range 20 {
		if err := s.post(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	d.settled("fast", 5*time.Second)
	if _, v := d.delivery("slow"); v.Backlog == 0 {
		t.Error("the slow output was not slow")
	}
	net.SetRate(0)
	d.settled("slow", 20*time.Second)
	d.stop()
	for _, sink := range []*sink{slow, fast} {
		if missing, _ := sink.missing(s.acked); len(missing) > 0 {
			t.Errorf("%d lost", len(missing))
		}
	}
}

// What an upstream will never take becomes a dead letter, and the rest goes on;
// what it takes no more for want of permission stays, visibly.
func TestReject_DeadLettersAndAlarm(t *testing.T) {
	var mu sync.Mutex
	var got []string
	forbidden := false
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case forbidden:
			http.Error(w, "not you", http.StatusForbidden)
		case strings.Contains(string(b), "bad"):
			http.Error(w, "no bad ones here", http.StatusUnprocessableEntity)
		default:
			got = append(got, strings.Fields(string(b))...)
		}
	}))
	defer up.Close()
	d := newDaemon(t, "[output.up]\nto = \""+up.URL+"\"\nretry = \"50ms\"\nretry_max = \"100ms\"\n[route.all]\nto = [\"up\"]\n")
	d.start()
	put := func(body string) {
		t.Helper()
		resp, err := http.Post("http://"+d.http+"/in", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
	}
	put("a\nb\nbad1\nc\nbad2\nd\n")
	v := d.settled("up", 10*time.Second)
	if v.Dead != 2 || v.DeadLetters != 2 || v.Delivered != 4 {
		t.Errorf("%+v", v)
	}
	mu.Lock()
	forbidden = true
	mu.Unlock()
	put("e\n")
	for began := time.Now(); !slices.ContainsFunc(d.status().Problems, func(p problem) bool { return strings.Contains(p.What, "not you") }); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("no alarm: %+v", d.status().Problems)
		}
	}
	if _, v := d.delivery("up"); v.Backlog != 1 || v.Dead != 2 {
		t.Errorf("%+v", v)
	}
	mu.Lock()
	forbidden = false
	mu.Unlock()
	d.settled("up", 10*time.Second)
	mu.Lock()
	if strings.Join(got, " ") != "a b c d e" {
		t.Errorf("%v", got)
	}
	mu.Unlock()
	d.stop()
}
