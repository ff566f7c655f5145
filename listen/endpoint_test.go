package listen

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Endpoint
		out  string // "" if it is in
	}{
		{"tcp://localhost:http", Endpoint{Scheme: "tcp", Host: "localhost", Service: "http"}, ""},
		{"tcp://:80", Endpoint{Scheme: "tcp", Service: "80"}, ""},
		{"tcp4://10.0.0.1:0", Endpoint{Scheme: "tcp4", Host: "10.0.0.1", Service: "0"}, ""},
		{"tcp6://[fe80::1%eth0]:65535", Endpoint{Scheme: "tcp6", Host: "fe80::1%eth0", Service: "65535"}, ""},
		{"tcp://:80?reuseport=on&backlog=5&reuseaddr=0&v6only=true&bind=any",
			Endpoint{Scheme: "tcp", Service: "80", Backlog: 5, Bind: BindAny, ReuseAddr: Off, ReusePort: On, V6Only: On},
			"tcp://:80?backlog=5&bind=any&reuseaddr=no&reuseport=yes&v6only=yes"},
		{"unix:///run/a.sock", Endpoint{Scheme: "unix", Path: "/run/a.sock"}, ""},
		{"unix:/run/a.sock", Endpoint{Scheme: "unix", Path: "/run/a.sock"}, "unix:///run/a.sock"},
		{"unix:a.sock", Endpoint{Scheme: "unix", Path: "a.sock"}, ""},
		{"unix:////x", Endpoint{Scheme: "unix", Path: "//x"}, ""},
		{"unix://@name", Endpoint{Scheme: "unix", Path: "@name"}, ""},
		{"unix:///a%20b%3Fc%25d", Endpoint{Scheme: "unix", Path: "/a b?c%d"}, ""},
		{"unix:///s?mode=660&owner=www-data:adm",
			Endpoint{Scheme: "unix", Path: "/s", Mode: 0o660, Owner: "www-data:adm"},
			"unix:///s?mode=0660&owner=www-data:adm"},
		{"fd:3", Endpoint{Scheme: "fd", FD: 3}, ""},
		{"fd://3", Endpoint{Scheme: "fd", FD: 3}, "fd:3"},
		{"systemd:web", Endpoint{Scheme: "systemd", Name: "web"}, ""},
		{"systemd://web", Endpoint{Scheme: "systemd", Name: "web"}, "systemd:web"},
		{"systemd:", Endpoint{Scheme: "systemd"}, ""},
		{"mem:echo", Endpoint{Scheme: "mem", Name: "echo"}, ""},
	} {
		got, err := Parse(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", tt.in, got, err, tt.want)
			continue
		}
		if tt.out == "" {
			tt.out = tt.in
		}
		if s := got.String(); s != tt.out {
			t.Errorf("Parse(%q).String() = %q; want %q", tt.in, s, tt.out)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string // parts of the message, one for each mistake
	}{
		{"", []string{"unknown scheme"}},
		{":80", []string{"unknown scheme"}},
		{"TCP://:80", []string{"unknown scheme"}},
		{"udp://:80", []string{`unknown scheme "udp"`}},
		{"tcp:host:80", []string{"want tcp://host:service"}},
		{"tcp://host", []string{"port or service is missing"}},
		{"tcp://host:", []string{"port or service is missing"}},
		{"tcp://::1:80", []string{"in brackets"}},
		{"tcp://[::1]", []string{"want [address]:service"}},
		{"tcp://[1.2.3.4]:80", []string{"brackets are for IPv6"}},
		{"tcp://[fe80::1%a b]:80", []string{"not a zone"}},
		{"tcp://:65536", []string{"neither a port"}},
		{"tcp://:-1", []string{"neither a port"}},
		{"tcp://host:80/", []string{"neither a port"}},
		{"tcp://ho/st:80", []string{"neither a host name"}},
		{"tcp4://[::1]:80", []string{"not an IPv4 address"}},
		{"tcp6://127.0.0.1:80", []string{"not an IPv6 address"}},
		{"tcp4://:80?v6only=yes", []string{`option "v6only" does not belong to tcp4`}},
		{"unix://run/x", []string{"a relative path is unix:run/x"}},
		{"unix://", []string{"not a path"}},
		{"unix://@", []string{"not a path"}},
		{"unix:///a%00b", []string{"not a path"}},
		{"unix:///a%zz", []string{"invalid URL escape"}},
		{"unix://@x?mode=0600", []string{"abstract"}},
		{"unix:///x?mode=0888", []string{`mode="0888"`}},
		{"unix:///x?mode=0", []string{`mode="0"`}},
		{"unix:///x?owner=a:b:c", []string{`owner="a:b:c"`}},
		{"fd:x", []string{"not the number"}},
		{"fd:-1", []string{"not the number"}},
		{"fd:3?backlog=2", []string{`option "backlog" does not belong to fd`}},
		{"systemd:a:b", []string{"not a name"}},
		{"mem:", []string{"not a name"}},
		{"tcp://:80?backlog=0", []string{`backlog="0"`}},
		{"tcp://:80?backlog=1&backlog=2", []string{"given twice"}},
		{"tcp4://[::1]:http:x?mode=0600&colour=red&bind=some", // everything at once
			[]string{"want", `"mode" does not belong`, `unknown option "colour"`, `bind="some"`}},
	} {
		_, err := Parse(tt.in)
		var ee *EndpointError
		if !errors.As(err, &ee) {
			t.Errorf("Parse(%q): %v; want an EndpointError", tt.in, err)
			continue
		}
		if len(ee.Problems) < len(tt.want) {
			t.Errorf("Parse(%q): %d problems, want %d: %v", tt.in, len(ee.Problems), len(tt.want), err)
		}
		for _, part := range tt.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("Parse(%q): %v; want %q in it", tt.in, err, part)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		e    Endpoint
		want string
	}{
		{Endpoint{}, "scheme is missing"},
		{Endpoint{Scheme: "tcp", Service: "80", Path: "/x"}, "a path belongs to unix"},
		{Endpoint{Scheme: "unix", Path: "/x", Service: "80"}, "belong to tcp"},
		{Endpoint{Scheme: "unix", Path: "/x", ReusePort: Off}, `option "reuseport" does not belong`},
		{Endpoint{Scheme: "unix", Path: "/x", Mode: 0o4755}, "mode"},
		{Endpoint{Scheme: "unix", Path: "/x", FD: 3}, "a descriptor number belongs to fd"},
		{Endpoint{Scheme: "fd", Name: "x"}, "a name belongs to"},
		{Endpoint{Scheme: "tcp", Service: "80", Backlog: -1}, "backlog"},
		{Endpoint{Scheme: "tcp", Service: "80", V6Only: 7}, "outside its constants"},
	} {
		if err := tt.e.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v; want %q", tt.e, err, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"tcp://localhost:http?backlog=5&bind=first", "tcp6://[fe80::1%eth0]:0?v6only=no", "tcp4://:80?reuseaddr=no&reuseport=yes",
		"unix:///run/a%20b.sock?mode=0660&owner=a:b", "unix://@abstract", "unix:rel", "fd://3", "systemd:web", "mem:x%3Fy",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(e.String())
		if err != nil || again != e {
			t.Fatalf("Parse(%q) = %+v, whose String %q gives %+v, %v", s, e, e.String(), again, err)
		}
	})
}

// FuzzEndpoint finds values that Validate accepts and String cannot express.
func FuzzEndpoint(f *testing.F) {
	f.Add("tcp", "::1", "80", "", 0, "", "", uint8(1))
	f.Add("unix", "", "", "/a?b&c=%", 0, "", "u:g&%", uint8(0))
	f.Add("mem", "", "", "", 0, "a?b", "", uint8(0))
	f.Fuzz(func(t *testing.T, scheme, host, service, path string, fd int, name, owner string, toggle uint8) {
		e := Endpoint{Scheme: scheme, Host: host, Service: service, Path: path, FD: fd, Name: name, Owner: owner, ReusePort: Toggle(toggle)}
		if e.Validate() != nil {
			return
		}
		again, err := Parse(e.String())
		if err != nil || again != e {
			t.Fatalf("%+v: String %q gives %+v, %v", e, e.String(), again, err)
		}
	})
}

func ExampleParse() {
	e, err := Parse("unix:/run/echo.sock?owner=www-data&mode=660")
	fmt.Println(e, err)
	_, err = Parse("tcp4://[::1]:http?mode=0660&colour=red")
	fmt.Println(err)
	// Output:
	// unix:///run/echo.sock?mode=0660&owner=www-data <nil>
	// hythe: listen: endpoint "tcp4://[::1]:http?mode=0660&colour=red": option "mode" does not belong to tcp4; unknown option "colour"; ::1 is not an IPv4 address
}
