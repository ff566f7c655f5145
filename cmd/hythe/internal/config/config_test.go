package config

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

var update = flag.Bool("update", false, "write the golden files")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		g, w := "(nothing)", "(nothing)"
		if i < len(gotLines) {
			g = gotLines[i]
		}
		if i < len(wantLines) {
			w = wantLines[i]
		}
		if g != w {
			t.Fatalf("%s, line %d:\n got %s\nwant %s", path, i+1, g, w)
		}
	}
}

func TestParse_TellsEveryMistakeWithItsLine(t *testing.T) {
	text, err := os.ReadFile("testdata/mistakes.toml")
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), "segment = 0.5", "", 1))
	c, err := Parse("hythe.toml", text)
	if err == nil || c != nil {
		t.Fatalf("got %v, %v", c, err)
	}
	golden(t, "mistakes.golden", err.Error()+"\n")
	if strings.Contains(err.Error(), "secret") {
		t.Error("a password is told")
	}
	for line := range strings.Lines(err.Error()) {
		if !strings.HasPrefix(line, "hythe.toml:") || strings.HasPrefix(line, "hythe.toml: ") {
			t.Errorf("no line: %s", line)
		}
	}
}

// minimal is a configuration to which a test adds something.
const minimal = `
input.lines.listen = ["tcp://127.0.0.1:7000"]
output.out.to = "stdout:"
route.all.to = ["out"]
`

func TestParse_Mistakes(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "hythe.toml: there is no input\nhythe.toml: there is no route"},
		{"[input", `hythe.toml:1: expected ']' to close table name`},
		{"a = 1\na = 2", "hythe.toml:2: a: key a is already defined"},
		{minimal + "data = \"x\"\ndata = \"y\"", "hythe.toml:6: data"},
		{minimal + "drain = \"soon\"", `hythe.toml:5: drain: "soon" is no duration, as 10s or 1h30m are`},
		{minimal + "drain = \"-1s\"", `hythe.toml:5: drain: "-1s" is negative`},
		{minimal + "drain = 5_000_000_000", `hythe.toml:5: drain: a duration has a unit, as "10s" has`},
		{minimal + "route.all.spool.max_bytes = \"much\"", `hythe.toml:5: route.all.spool.max_bytes: "much" is no size, as 4096, 64KiB or 10GB are`},
		{minimal + "route.all.spool.max_bytes = -2", `hythe.toml:5: route.all.spool.max_bytes: -2 bytes is less than 64 KiB`},
		{minimal + "input.lines.window = \"many\"", "hythe.toml:5: input.lines.window"},
		{minimal + "input.x = 5", "hythe.toml:5: input.x"},
		{minimal + "input.x = {}", "hythe.toml:5: input.x.listen: an endpoint is needed, as tcp://127.0.0.1:7000 is"},
		{minimal + "input.x.listen = [\"tcp://0.0.0.0:7000\"]", "hythe.toml:5: input.x.listen: tcp://0.0.0.0:7000 is taken already, by input.lines.listen"},
		{minimal + "input.lines.ack = \"id\"\ninput.lines.framing = \"raw\"", "hythe.toml:5: input.lines.ack: framing raw cannot carry acknowledgements"},
		{minimal + "[output.x]\nto = \"tcp://h:1\"\ntls.ca = \"x\"", "hythe.toml:7: output.x.tls: it means nothing for what this output leads to"},
		{minimal + "admin.listen = \"tcp://[::]:7070\"", "hythe.toml:5: admin.listen: tcp://[::]:7070 can be reached from elsewhere"},
		{minimal + "admin.listen = \"tcp://a.example:7070\"", "hythe.toml:5: admin.listen: tcp://a.example:7070 can be reached from elsewhere"},
		{minimal + "admin.listen = \"tcp://127.0.0.1:7000\"", "is taken already, by admin.listen"},
		{minimal + "admin.token_file = \"/dev/zero\"", "/dev/zero: not a regular file"},
		{minimal + "admin.token_file = \"testdata/short.token\"", "testdata/short.token: a token of 8 bytes or more is needed"},
		{minimal + "route.all.match.header.A = \"b\"", "hythe.toml:5: route.all.match.header: only messages of http and fcgi have headers"},
		{minimal + "route.all.match.headers.A = \"b\"", "hythe.toml:5: route.all.match.headers"},
	} {
		_, err := Parse("hythe.toml", []byte(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s\n got %v\nwant %s", test.text, err, test.want)
		}
	}
}

func TestParse_Right(t *testing.T) {
	for _, text := range []string{
		"",
		"drain = \"0s\"",
		"output.out.linger = \"200us\"",
		"output.more.to = [\"tcp://a.example:1\", \"tls://b.example:2\", \"unix:///run/x\"]",
		"output.more.to = [\"http://a.example\", \"https://b.example/in\"]",
		"route.all.spool.max_bytes = -1",
		"route.all.spool.max_bytes = \"1.5GiB\"",
		"admin.listen = \"off\"",
		"admin.listen = \"tcp://[::1]:7070\"",
		"admin.listen = \"unix:run/admin.sock\"",
		"input.more.listen = [\"tcp://127.0.0.2:7000\", \"tcp://127.0.0.1:0\", \"systemd:more\"]",
		"input.more.listen = [\"tcp6://[::]:7000\"]\ninput.lines.framing = \"nul\"",
		"input.in = { protocol = \"stdin\" }",
	} {
		if _, err := Parse("hythe.toml", []byte(minimal+text)); err != nil {
			t.Errorf("%s\n%v", text, err)
		}
	}
}

func TestParse_Values(t *testing.T) {
	c, err := Parse("", []byte(minimal+`
input.lines.max_message = 4096
input.lines.idle = "1h30m"
route.all.spool = { max_bytes = "1.5GiB", segment = "10MB", dead_bytes = -1 }
output.out.retry = "250ms"
`))
	if err != nil {
		t.Fatal(err)
	}
	i, r, o := c.Input["lines"], c.Route["all"], c.Output["out"]
	if i.Name != "lines" || r.Name != "all" || o.Name != "out" {
		t.Errorf("names %q, %q, %q", i.Name, r.Name, o.Name)
	}
	if i.MaxMessage != 4096 || time.Duration(i.Idle) != 90*time.Minute || time.Duration(o.Retry) != 250*time.Millisecond {
		t.Errorf("%+v %+v", i, o)
	}
	if want := (SpoolConfig{MaxBytes: 3 << 29, Segment: 10e6, DeadBytes: -1, Overflow: "refuse"}); r.Spool != want {
		t.Errorf("got %+v, want %+v", r.Spool, want)
	}
	if !reflect.DeepEqual(o.To, Strings{"stdout:"}) {
		t.Errorf("to %v", o.To)
	}
}

func TestDefault(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if w := c.Warnings(); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
	got := []string{c.Input["lines"].Listen[0], c.Input["http"].Listen[0], c.Input["http"].Path, c.Input["fcgi"].Listen[0], c.Output["stdout"].To[0], c.Admin.Listen, c.Data}
	want := []string{"tcp://127.0.0.1:7000", "tcp://127.0.0.1:7080", "/in", "unix:hythe-data/fcgi.sock?mode=0660", "stdout:", "tcp://127.0.0.1:7070", "./hythe-data"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestWith(t *testing.T) {
	c := With(Flags{Listen: []string{"tcp://:1", "unix:///run/x"}, To: "nats://n:4222", Data: "/var/a b?c", Admin: "off"})
	if err := c.Validate(); err == nil || err.Error() != "output.out.subject: a subject is needed" {
		t.Errorf("%v", err)
	}
	if got := c.Input["lines"]; len(c.Input) != 1 || len(got.Listen) != 2 {
		t.Errorf("inputs %v", c.Input)
	}
	c = With(Flags{Data: "/var/a b?c", To: "-"})
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if got := c.Output["stdout"]; got == nil || got.To[0] != "stdout:" {
		t.Errorf("- is %v", got)
	}
	c = With(Flags{Listen: []string{"-"}})
	if err := c.Validate(); err != nil || c.Input["stdin"] == nil || c.Input["stdin"].Protocol != "stdin" {
		t.Errorf("- is %v, %v", c.Input, err)
	}
}

func TestWarnings(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("0123456789\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	os.Chmod(token, 0o644) // whatever the umask is
	c, err := Parse("hythe.toml", []byte(`
[admin]
token_file = "`+token+`"
[input.lines]
listen = ["tcp://127.0.0.1:1"]
[input.lonely]
listen = ["tcp://127.0.0.1:2"]
[input.fine]
listen = ["tcp://127.0.0.1:3"]
[output.a]
to = "stdout:"
[output.b]
to = ["stdout:"]
[output.c]
to = "tcp://127.0.0.1:4"
[route.some]
from = ["lines"]
match.prefix = "x"
to = ["a", "b"]
spool = { max_age = "1h", overflow = "drop-oldest" }
[route.rest]
from = ["fine"]
discard = true
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"hythe.toml:3: admin.token_file: everybody on this machine can read " + token,
		"hythe.toml:4: input.lines: what matches no route is refused",
		"hythe.toml:6: input.lonely: no route takes its messages: all of them are refused",
		"hythe.toml:23: route.rest.discard: what it takes is acknowledged and thrown away",
		"hythe.toml:20: route.some.spool.overflow: when its spool is full it loses messages that were acknowledged",
		"hythe.toml:20: route.some.spool.max_age: messages that are not delivered within 1h0m0s are lost",
		"hythe.toml:12: output.b: it shares standard output with a",
		"hythe.toml:14: output.c: no route leads to it",
	}
	if got := c.Warnings(); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestWrite(t *testing.T) {
	c, err := Load("testdata/example.toml")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	c.Write(t.Context(), &b)
	golden(t, "example.golden", b.String())
	b.Reset()
	Default().Write(t.Context(), &b)
	golden(t, "default.golden", b.String())
}

func TestWrite_LooksNamesUp(t *testing.T) {
	c, err := Parse("", []byte(minimal+"output.far.to = [\"tcp://no-such-host.invalid:1\", \"tcp://localhost:2\"]\nroute.far.to = [\"far\"]"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	c.Write(t.Context(), &b)
	if !strings.Contains(b.String(), "tcp://no-such-host.invalid:1 (not found now: ") {
		t.Error(b.String())
	}
	if !strings.Contains(b.String(), "tcp://localhost:2 (") || !strings.Contains(b.String(), "127.0.0.1") {
		t.Error(b.String())
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "4096": 4096, "64KiB": 64 << 10, "1 GiB": 1 << 30, "1.5MiB": 3 << 19, "10MB": 10e6, "2kB": 2000, "-1": -1, "7B": 7, "1TiB": 1 << 40,
	} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s: %d, %v; want %d", text, s, err, want)
		}
		var again Size
		if err := again.UnmarshalText([]byte(strings.Replace(s.String(), "bytes", "B", 1))); err != nil || again != s {
			t.Errorf("%v is written %q, read back as %d, %v", text, s, again, err)
		}
	}
	for _, text := range []string{"", "-2", "MiB", "1XB", "1e400", "9e18", "NaN", "+Inf", "0x10"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %d", text, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"mistakes.toml", "example.toml"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(minimal))
	f.Add([]byte("input.x = {}\noutput.y = {}\nroute.z = {}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("f", text)
		if (c == nil) == (err == nil) {
			t.Fatalf("%v, %v", c, err)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("no place: %v", err)
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Errorf("checked again it is wrong: %v", err)
		}
		c.Warnings()
	})
}
