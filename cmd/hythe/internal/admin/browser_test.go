package admin

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
	"github.com/hythe-go/hythe/httpd"
)

// serve serves the page as the daemon does, and returns its address.
func serve(t *testing.T, h http.Handler) (url string, srv *hythe.Server) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv = &hythe.Server{Service: &httpd.Server{Handler: h}}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background(), ln) }()
	t.Cleanup(func() {
		srv.Close()
		<-served
	})
	return "http://" + ln.Addr().String() + "/", srv
}

// A browser is a tab of a Chromium that is this test's own.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string // what the console got. Guarded by mu
}

func openBrowser(t *testing.T) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no chromium")
		}
		t.Skip("there is no chromium")
	}
	if testing.Short() {
		t.Skip("a browser takes a few seconds")
	}
	alloc, cancelAlloc := chromedp.NewExecAllocator(context.Background(), chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.Headless, chromedp.NoFirstRun, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true))
	t.Cleanup(cancelAlloc)
	tab, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	b := &browser{t: t}
	if err := chromedp.Listen(tab, b.hear); err != nil { // starts the browser
		t.Fatal(err)
	}
	b.ctx, cancel = context.WithTimeout(tab, time.Minute)
	t.Cleanup(cancel)
	call(b, cdplog.Enable, cdp.Empty{})
	call(b, runtime.Enable, cdp.Empty{})
	b.do(chromedp.EmulateViewport(1200, 900))
	return b
}

// hear keeps what the console gets.
func (b *browser) hear(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, "exception: "+ev.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		b.complaints = append(b.complaints, "console."+string(ev.Type))
	case *cdplog.EventEntryAdded: // also violations of the policy
		b.complaints = append(b.complaints, string(ev.Entry.Level)+": "+ev.Entry.Text+" "+ev.Entry.URL)
	}
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func run[T any](b *browser, a chromedp.Action[T]) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, a)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

func call[P, R any](b *browser, cmd cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, cmd, params); err != nil {
		b.t.Fatal(err)
	}
}

// text returns what of an element can be seen.
func (b *browser) text(sel string) string {
	b.t.Helper()
	return run(b, chromedp.Text(chromedp.CSS(sel)))
}

// eval returns the value of an expression.
func eval[T any](b *browser, expr string) T {
	b.t.Helper()
	return run(b, chromedp.Evaluate[T](expr))
}

// wait waits until an expression is true, which it looks at whenever the page has
// changed. (The page's policy forbids what chromedp.Poll does.)
func (b *browser) wait(expr string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 15*time.Second)
	defer cancel()
	_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`new Promise((done) => {
		const look = () => {
			if (!(`+expr+`)) return;
			observer.disconnect();
			done(true);
		};
		const observer = new MutationObserver(look);
		observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
		look();
	})`, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expr, err)
	}
}

// quiet fails the test if the console got anything.
func (b *browser) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.complaints) > 0 {
		b.t.Errorf("the browser complains:\n%s", strings.Join(b.complaints, "\n"))
	}
}

// shoot keeps a picture if HYTHE_SHOTS names a directory.
func (b *browser) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("HYTHE_SHOTS")
	if dir == "" {
		return
	}
	png := run(b, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func TestBrowser_PageIsCompleteWithoutJavaScript(t *testing.T) {
	b := openBrowser(t)
	url, _ := serve(t, Handler(newFake(), Options{Loopback: true}))
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.do(chromedp.Navigate(url))
	body := b.text("body")
	for _, want := range []string{
		"2 problems", "connection refused", "next attempt in", "apps", "tcp://127.0.0.1:7000", "possible duplicates", "store.example.com",
		"peer reset", "10.1.2.0:40000", "790 MiB", "of 1 GiB", "Requeue 12", "messages per second",
	} {
		if !strings.Contains(strings.ReplaceAll(body, "\u00a0", " "), want) {
			t.Errorf("the page does not show %q:\n%s", want, body)
		}
	}
	b.do(chromedp.Click(chromedp.CSS("form button")), chromedp.WaitVisible(chromedp.CSS("#notice")))
	if got := b.text("#notice"); got != "12 dead letters were requeued." {
		t.Errorf("after the button: %q", got)
	}
	b.quiet()
}

func TestBrowser_PageIsLiveWithoutReloading(t *testing.T) {
	b := openBrowser(t)
	f := newFake()
	url, srv := serve(t, Handler(f, Options{Loopback: true}))
	b.do(chromedp.Navigate(url))
	eval[any](b, `window.mark = 1; document.querySelector("#chart-rate details").open = true; document.querySelector("form button").focus()`)
	before := b.text("#tiles")
	line := eval[string](b, `document.querySelector(".line.s0").getAttribute("d")`)
	b.wait(`document.querySelector("#tiles").innerText !== ` + quote(before))
	b.wait(`document.querySelector(".line.s0").getAttribute("d") !== ` + quote(line))
	if eval[bool](b, `window.mark !== 1`) {
		t.Error("the page was loaded again")
	}
	if !eval[bool](b, `document.querySelector("#chart-rate details").open && document.activeElement.nodeName === "BUTTON"`) {
		t.Error("an update has closed the table, or taken the focus away")
	}
	b.shoot("light")

	// What disappears, appears, and changes places.
	f.with(func(s *status.Snapshot) {
		s.Problems = nil
		slices.Reverse(s.Routes)
		s.Routes = append(s.Routes, status.Route{Name: "late"})
		s.Conns = s.Conns[:2]
	})
	b.wait(`document.querySelector("#problems").innerText.startsWith("None") && document.querySelector("#route-late")`)
	if got := eval[string](b, `[...document.querySelectorAll("#routes h3")].map(h => h.textContent).join(" ")`); got != "audit all late" {
		t.Errorf("routes: %s", got)
	}
	if n := eval[int](b, `document.querySelectorAll("#conns tbody tr").length`); n != 2 {
		t.Errorf("%d connections are listed", n)
	}
	if got := eval[string](b, "document.title"); got != "All is well – hythe" {
		t.Errorf("title %q", got)
	}

	b.do(chromedp.Click(chromedp.CSS("form button")))
	b.wait(`document.querySelector("#notice").innerText === "12 dead letters were requeued."`)
	if got := f.calls(); !slices.Equal(got, []string{"all hook"}) {
		t.Errorf("requeued: %v", got)
	}
	b.wait(`!document.querySelector("form")`)
	if eval[bool](b, `window.mark !== 1`) {
		t.Error("the page was loaded again")
	}
	b.quiet()

	srv.Close()
	b.wait(`document.querySelector("#stale").innerText.includes("does not answer")`)
}

// The token is good for all that the page does, however the browser has got it.
func TestBrowser_TokenAsPassword(t *testing.T) {
	b := openBrowser(t)
	f := newFake()
	url, _ := serve(t, Handler(f, Options{Token: "s3cret"}))
	b.do(chromedp.Navigate(strings.Replace(url, "http://", "http://me:s3cret@", 1)))
	before := b.text("#head")
	b.wait(`document.querySelector("#head").innerText !== ` + quote(before))
	b.do(chromedp.Click(chromedp.CSS("form button")))
	b.wait(`document.querySelector("#notice").innerText === "12 dead letters were requeued."`)
	b.quiet()
}

// quote writes a string as JavaScript does.
func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func TestBrowser_NothingOverflows(t *testing.T) {
	b := openBrowser(t)
	long := strings.Repeat("x", 300)
	f := newFake().with(func(s *status.Snapshot) {
		s.Data = "/" + long
		s.Problems[0].What = long
		s.Routes[0].Deliveries[1].Lanes[0].Link.Cause = long
		s.Inputs[0].Endpoints[0].Try = long
		s.Closed[0].Detail = long
	})
	url, _ := serve(t, Handler(f, Options{Loopback: true}))
	for _, width := range []int64{320, 375, 768, 1200} {
		b.do(chromedp.EmulateViewport(width, 800), chromedp.Navigate(url))
		if got := eval[int64](b, "document.documentElement.scrollWidth"); got > width {
			t.Errorf("%d px wide, of %d", got, width)
		}
	}
	f.with(nil)
	b.do(chromedp.EmulateViewport(375, 800, chromedp.EmulateScale(2)), chromedp.Navigate(url))
	b.shoot("phone")
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}})
	b.do(chromedp.EmulateViewport(1200, 900), chromedp.Navigate(url))
	b.shoot("dark")
	b.quiet()
}

func TestBrowser_MarkupInNamesIsText(t *testing.T) {
	b := openBrowser(t)
	evil := `<img src=x onerror="window.mark=1"><script>window.mark=1</script>"'`
	f := newFake().with(func(s *status.Snapshot) { spoil(s, evil) })
	url, _ := serve(t, Handler(f, Options{Loopback: true}))
	b.do(chromedp.Navigate(url))
	before := b.text("#head")
	b.wait(`document.querySelector("#head").innerText !== ` + quote(before)) // an update has come
	if eval[bool](b, `window.mark === 1 || !!document.querySelector("main img, main script")`) {
		t.Error("markup of a name has become the page's")
	}
	b.quiet()
}

// spoil puts text into everything that comes from elsewhere.
func spoil(s *status.Snapshot, text string) {
	s.Version, s.Data, s.Config = text, text, text
	s.Problems[0].Part, s.Problems[0].What = text, text
	in := &s.Inputs[0]
	in.Name, in.Protocol, in.Framing, in.Guarantee, in.Endpoints[0] = text, text, text, text, status.Endpoint{Address: text, Try: text}
	in.Reasons[text] = 1
	r := &s.Routes[0]
	r.Name, r.Match, r.Spool.Dir, r.Spool.Trouble = text, text, text, text
	d := &r.Deliveries[1]
	d.Output, d.To, d.Guarantee = text, text, text
	d.Lanes[0].Error, d.Lanes[0].Link.Phase, d.Lanes[0].Link.Endpoint, d.Lanes[0].Link.Cause = text+"2", text, text, text
	s.Conns[0].Input, s.Conns[0].Remote = text, text
	s.Closed[0].Input, s.Closed[0].Remote, s.Closed[0].Reason, s.Closed[0].Detail = text, text, text, text
}
