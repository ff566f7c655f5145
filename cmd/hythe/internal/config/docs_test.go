package config

import (
	"fmt"
	"os"
	"path/filepath"
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

// Every configuration in the documentation can be read. What it leaves out, because
// it is about something else, is put behind it; the files that it names are there.
func TestDocs_ConfigurationsAreRight(t *testing.T) {
	const root = "../../../../"
	names := []string{root + "README.md", root + "ARCHITECTURE.md", root + "CONTRIBUTING.md"}
	for _, pattern := range []string{"docs/*.md", "docs/*/*.md"} {
		more, _ := filepath.Glob(filepath.FromSlash(root + pattern))
		names = append(names, more...)
	}
	found := 0
	for _, name := range names {
		for i, block := range tomlBlocks(t, name) {
			found++
			if _, err := Parse(fmt.Sprintf("%s, example %d", filepath.Base(name), i+1), []byte(framed(t, block))); err != nil {
				t.Error(err)
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d configurations were found", found)
	}
}

// tomlBlocks returns the configurations in a document.
func tomlBlocks(t *testing.T, name string) (blocks []string) {
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllSubmatch(text, -1) {
		blocks = append(blocks, string(m[1]))
	}
	return blocks
}

// framed makes a configuration whole.
func framed(t *testing.T, block string) string {
	dir := t.TempDir()
	block = regexp.MustCompile(`"/etc/hythe/([\w-]+)\.(\w+)"`).ReplaceAllStringFunc(block, func(quoted string) string {
		name := filepath.Join(dir, filepath.Base(strings.Trim(quoted, `"`)))
		switch base, kind, _ := strings.Cut(filepath.Base(name), "."); {
		case kind == "pem":
			certificate(t, dir, base) // and its key
		case kind == "key":
		default:
			if err := os.WriteFile(name, []byte("0123456789"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return fmt.Sprintf("%q", name)
	})
	tables := func(kind string) (names []string) {
		for _, m := range regexp.MustCompile(`(?m)^\[`+kind+`\.(\w+)\]`).FindAllStringSubmatch(block, -1) {
			names = append(names, m[1])
		}
		return names
	}
	if tables("input") == nil {
		block += "\n[input.in]\nlisten = [\"tcp://127.0.0.1:0\"]\n"
	}
	if tables("output") == nil {
		block += "\n[output.out]\nto = \"stdout:\"\n"
	}
	if tables("route") == nil {
		block += fmt.Sprintf("\n[route.all]\nto = [\"%s\"]\n", strings.Join(tables("output"), `", "`))
	}
	return block
}

// The configuration that hythe is said to have without any is what it has.
func TestDocs_BuiltInConfiguration(t *testing.T) {
	c, err := Parse("", []byte(tomlBlocks(t, docsFile)[1]))
	if err != nil {
		t.Fatal(err)
	}
	c.places = nil
	if want := Default(); !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v\nwant %+v", c, want)
	}
}
