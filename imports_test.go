package hythe_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/hythe-go/hythe"

// Imports point down only: each package of ours, and what of ours it may use.
// The drawing is in ARCHITECTURE.md.
var mayImport = map[string][]string{
	"codec":             {},
	"codec/codectest":   {"codec"},
	"memnet":            {},
	"listen":            {},
	"internal/loop":     {},
	"internal/outq":     {},
	"internal/sendfile": {},
	"internal/leaktest": {}, // of tests only
	".":                 {"codec", "listen", "internal/loop", "internal/outq", "internal/sendfile"},
	"fcgi":              {".", "listen"},
	"httpd":             {".", "internal/sendfile"},
	"httpd/middleware":  {},
	"link":              {".", "codec"},
	"spool":             {},
	"spool/crashfs":     {"spool"},
	"hythetest":         {".", "memnet"},
}

// mayUse says what else a package may use.
var mayUse = map[string][]string{
	"codec":             {},
	"codec/codectest":   {},
	"memnet":            {},
	"internal/outq":     {},
	"internal/sendfile": {},
	"hythetest":         {},
	"httpd":             {},
	"httpd/middleware":  {},
}

func TestImportsPointDown(t *testing.T) {
	seen := make(map[string]bool)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return fs.SkipDir
			}
			switch name {
			case "cmd", "bench", "examples": // at the top: they may use everything
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		pkg := filepath.ToSlash(filepath.Dir(name))
		ours, known := mayImport[pkg]
		if !known {
			t.Errorf("package %s is not in the drawing", pkg)
			return nil
		}
		seen[pkg] = true
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			imp, _ := strconv.Unquote(spec.Path.Value)
			switch {
			case imp == module || strings.HasPrefix(imp, module+"/"):
				if rel := path.Clean(strings.TrimPrefix(strings.TrimPrefix(imp, module), "/")); !slices.Contains(ours, rel) {
					t.Errorf("%s imports %s, which is not below it", name, imp)
				}
			case strings.Contains(strings.Split(imp, "/")[0], "."):
				others, limited := mayUse[pkg]
				if !limited {
					others = []string{"golang.org/x/sys/unix", "golang.org/x/sys/windows"}
				}
				if !slices.Contains(others, imp) {
					t.Errorf("%s imports %s", name, imp)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range mayImport {
		if !seen[pkg] {
			t.Errorf("package %s is in the drawing and not in the tree", pkg)
		}
	}
}
