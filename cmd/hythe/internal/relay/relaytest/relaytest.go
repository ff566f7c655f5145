// Package relaytest has a relay's inside for the tests of inputs and outputs: an
// Intake and a Lane on a real spool.
package relaytest

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
	"github.com/hythe-go/hythe/link"
	"github.com/hythe-go/hythe/spool"
)

// Output is the name of the fixtures' output.
const Output = "out"

// A Fixture is a route with one input and one output.
type Fixture struct {
	Lane   *relay.Lane
	Intake *relay.Intake
	Route  *relay.Route

	t    testing.TB
	dead string
}

// New returns a fixture with an empty spool. The test pulls from Lane itself; it
// ends with the test.
func New(t testing.TB) *Fixture {
	t.Helper()
	f := open(t, spool.Options{})
	out := &holder{lane: make(chan *relay.Lane, 1)}
	if err := f.Route.Deliver(Output, 1, func(int) (relay.Output, error) { return out, nil }); err != nil {
		t.Fatal(err)
	}
	f.Lane = <-out.lane
	return f
}

// NewWith returns a fixture that has outputs deliver, one for each lane.
func NewWith(t testing.TB, lanes int, open1 func(lane int) (relay.Output, error)) *Fixture {
	t.Helper()
	f := open(t, spool.Options{})
	if err := f.Route.Deliver(Output, lanes, open1); err != nil {
		t.Fatal(err)
	}
	return f
}

func open(t testing.TB, o spool.Options) *Fixture {
	t.Helper()
	f := &Fixture{t: t, dead: t.TempDir()}
	var err error
	f.Route, err = relay.OpenRoute("test", relay.RouteOptions{Dir: t.TempDir(), DeadDir: f.dead, Spool: o})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Route.Close(); err != nil {
			t.Error(err)
		}
	})
	f.Intake = relay.NewIntake("in", relay.NewIDs())
	f.Intake.SetRoutes([]*relay.Route{f.Route})
	return f
}

// holder is an Output that hands its lane to the test.
type holder struct{ lane chan *relay.Lane }

func (h *holder) Run(ctx context.Context, lane *relay.Lane) {
	h.lane <- lane
	<-ctx.Done()
}

func (h *holder) Link() (s link.Status, ok bool) { return s, false }

// Put makes messages with these bodies durable.
func (f *Fixture) Put(bodies ...string) {
	f.t.Helper()
	msgs := make([]relay.Message, len(bodies))
	for i, body := range bodies {
		msgs[i].Body = []byte(body)
	}
	f.PutMessages(msgs...)
}

// PutMessages makes messages durable.
func (f *Fixture) PutMessages(msgs ...relay.Message) {
	f.t.Helper()
	if err := f.Intake.Put(f.t.Context(), msgs, nil); err != nil {
		f.t.Fatal(err)
	}
}

func (f *Fixture) delivery() status.Delivery {
	return f.Route.Status(time.Now()).Deliveries[0]
}

// Backlog returns how many messages are not settled.
func (f *Fixture) Backlog() int { return int(f.delivery().Backlog) }

// Delivered returns how many messages were confirmed.
func (f *Fixture) Delivered() int { return int(f.delivery().Delivered) }

// Again returns how many messages were handed out once more.
func (f *Fixture) Again() int { return int(f.delivery().Again) }

// Dead returns the dead letters.
func (f *Fixture) Dead() []relay.Message {
	f.t.Helper()
	dir := f.dead + "/" + Output
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	var msgs []relay.Message
	for rec, err := range spool.Export(dir, spool.Options{}, 0, 0) {
		if err != nil {
			f.t.Fatal(err)
		}
		m, err := relay.Parse(append([]byte(nil), rec.Payload...))
		if err != nil {
			f.t.Fatal(err)
		}
		msgs = append(msgs, m)
	}
	return msgs
}

// WaitSettled waits until nothing is left to deliver.
func (f *Fixture) WaitSettled(ctx context.Context) error {
	for f.Backlog() > 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// An IntakeFixture is an Intake whose disk the test commands.
type IntakeFixture struct {
	Intake *relay.Intake

	t  testing.TB
	f  *Fixture
	fs *commandedFS
}

// NewIntake returns an intake on an empty spool.
func NewIntake(t testing.TB) *IntakeFixture {
	t.Helper()
	fs := &commandedFS{FS: spool.OS(), ok: make(chan struct{})}
	close(fs.ok)
	f := open(t, spool.Options{FS: fs})
	return &IntakeFixture{Intake: f.Intake, t: t, f: f, fs: fs}
}

// Messages returns what is durable so far, in order.
func (f *IntakeFixture) Messages() []relay.Message {
	f.t.Helper()
	var msgs []relay.Message
	for rec, err := range spool.Export(f.f.Route.Status(time.Now()).Spool.Dir, spool.Options{}, 0, 0) {
		if err != nil {
			f.t.Fatal(err)
		}
		m, err := relay.Parse(append([]byte(nil), rec.Payload...))
		if err != nil {
			f.t.Fatal(err)
		}
		msgs = append(msgs, m)
	}
	return msgs
}

// Fail has the disk fail with err, which may be syscall.ENOSPC, until Fail(nil).
func (f *IntakeFixture) Fail(err error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.err = err
}

// Hold has syncs wait until release is called.
func (f *IntakeFixture) Hold() (release func()) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	ok := make(chan struct{})
	f.fs.ok = ok
	release = sync.OnceFunc(func() { close(ok) })
	f.t.Cleanup(release)
	return release
}

// commandedFS is a filesystem that fails, and waits, when it is told to.
type commandedFS struct {
	spool.FS

	mu  sync.Mutex
	err error         // guarded by mu
	ok  chan struct{} // closed when syncs may go on. Guarded by mu
}

func (c *commandedFS) state() (ok <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ok, c.err
}

func (c *commandedFS) OpenFile(name string, flag int, perm os.FileMode) (spool.File, error) {
	if _, err := c.state(); err != nil && flag&os.O_CREATE != 0 {
		return nil, err
	}
	file, err := c.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &commandedFile{File: file, fs: c}, nil
}

type commandedFile struct {
	spool.File
	fs *commandedFS
}

func (c *commandedFile) WriteAt(p []byte, off int64) (int, error) {
	if _, err := c.fs.state(); err != nil {
		return 0, err
	}
	return c.File.WriteAt(p, off)
}

func (c *commandedFile) Sync() error {
	ok, _ := c.fs.state()
	<-ok
	if _, err := c.fs.state(); err != nil {
		return err
	}
	return c.File.Sync()
}
