package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// docsFile is the documentation for those who write configurations.
const docsFile = "../../../../docs/configuration.md"

var sections = map[string]any{
	"The top of the file": Config{},
	"[log]":               Log{},
	"[admin]":             Admin{},
	"[tls]":               TLS{},
	"[input.NAME]":        Input{},
	"[output.NAME]":       Output{},
	"[route.NAME]":        Route{},
	"[route.NAME.match]":  Match{},
	"[route.NAME.spool]":  SpoolConfig{},
}

// Every key is documented, with its default, and every key that is documented is there.
func TestDocs_HaveEveryKeyWithItsDefault(t *testing.T) {
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	filled := &Config{Input: map[string]*Input{"x": {}}, Output: map[string]*Output{"x": {}}, Route: map[string]*Route{"x": {}}}
	filled.fill()
	defaults := map[reflect.Type]reflect.Value{}
	for _, v := range []any{*filled, filled.Log, filled.Admin, *filled.Input["x"], *filled.Output["x"], *filled.Route["x"], filled.Route["x"].Spool} {
		defaults[reflect.TypeOf(v)] = reflect.ValueOf(v)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|([^|]*)\\|")
	found := 0
	for section := range strings.SplitSeq(string(text), "\n## ") {
		title, body, _ := strings.Cut(section, "\n")
		kind := sections[title]
		if kind == nil {
			continue
		}
		found++
		documented := make(map[string]string)
		for _, m := range row.FindAllStringSubmatch(body, -1) {
			documented[m[1]] = strings.Trim(strings.TrimSpace(m[2]), "`")
		}
		typ := reflect.TypeOf(kind)
		for i := range typ.NumField() {
			f := typ.Field(i)
			key := f.Tag.Get("toml")
			if key == "" || key == "-" || typ == reflect.TypeFor[Config]() && f.Type.Kind() != reflect.String && f.Type != reflect.TypeFor[Duration]() {
				continue // those are tables with sections of their own
			}
			written, ok := documented[key]
			delete(documented, key)
			want := ""
			if v, there := defaults[typ]; there {
				want = defaultText(v.Field(i))
			}
			switch {
			case !ok:
				t.Errorf("%s: %s is not documented", title, key)
			case written != want:
				t.Errorf("%s: the default of %s is %q, and documented as %q", title, key, want, written)
			}
		}
		for key := range documented {
			t.Errorf("%s: %s is documented, and is not there", title, key)
		}
	}
	if found != len(sections) {
		t.Errorf("%d sections found", found)
	}
}

// defaultText writes a default as one would in a configuration; nothing for zero.
func defaultText(v reflect.Value) string {
	if v.IsZero() {
		return ""
	}
	switch d := v.Interface().(type) {
	case Duration:
		return strings.TrimSuffix(time.Duration(d).String(), "m0s") + map[bool]string{true: "m"}[strings.HasSuffix(time.Duration(d).String(), "m0s")]
	case Size:
		return strings.ReplaceAll(d.String(), " ", "")
	case string, int:
		return fmt.Sprint(d)
	}
	return ""
}

// The configurations in the documentation are right, and the one that hythe is said
// to have without any is what it has.
func TestDocs_Examples(t *testing.T) {
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d examples", len(blocks))
	}
	token := t.TempDir() + "/token"
	if err := os.WriteFile(token, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Parse("", []byte(strings.ReplaceAll(string(blocks[0][1]), "/etc/hythe/store.token", token))); err != nil {
		t.Error(err)
	}
	c, err := Parse("", blocks[1][1])
	if err != nil {
		t.Fatal(err)
	}
	c.places = nil
	if want := Default(); !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v\nwant %+v", c, want)
	}
}
