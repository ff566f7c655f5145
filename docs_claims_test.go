package hythe_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hythe-go/hythe"
)

// Links within the repository lead somewhere.
func TestDocs_LinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	found := 0
	for _, name := range documents(t) {
		for i, line := range readDocument(t, name).prose {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				if strings.Contains(m[1], "://") {
					continue
				}
				found++
				file, title, _ := strings.Cut(m[1], "#")
				to := path.Join(path.Dir(name), file)
				if file == "" {
					to = name
				}
				if _, err := os.Stat(filepath.FromSlash(to)); err != nil {
					t.Errorf("%s:%d: there is no %s", name, i+1, to)
				} else if title != "" && !readDocument(t, to).titles["#"+title] {
					t.Errorf("%s:%d: %s has no heading #%s", name, i+1, to, title)
				}
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d links were found", found)
	}
}

// Commands that readers are told to run exist: packages, their flags and tests;
// commands of hythe, as docs/hythe.1.md has them, which a test of cmd/hythe keeps
// true.
func TestDocs_CommandsExist(t *testing.T) {
	hythe := hytheFlags(t)
	found := 0
	for _, name := range documents(t) {
		d := readDocument(t, name)
		check := func(i int, text string) {
			text, _, _ = strings.Cut(text, " #")
			for command := range strings.FieldsFuncSeq(strings.ReplaceAll(text, "&&", ";"), func(r rune) bool { return r == '|' || r == ';' }) {
				words := strings.Fields(strings.Trim(command, "$ "))
				var err error
				switch {
				case len(words) > 1 && words[0] == "go":
					err = checkGo(words)
				case len(words) > 0 && words[0] == "hythe":
					err = checkHythe(hythe, words[1:])
				default:
					continue
				}
				found++
				if err != nil {
					t.Errorf("%s:%d: %s: %v", name, i, strings.TrimSpace(command), err)
				}
			}
		}
		for _, b := range d.blocks {
			if b.lang == "" || b.lang == "sh" {
				for i, line := range strings.Split(b.text, "\n") {
					check(b.line+i, line)
				}
			}
		}
		for i, line := range d.prose {
			if strings.HasPrefix(line, "    ") {
				check(i+1, line)
			}
			for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
				if strings.Contains(m[1], " ") {
					check(i+1, m[1])
				}
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d commands were found", found)
	}
}

// hytheFlags returns the flags of each of hythe's commands.
func hytheFlags(t *testing.T) map[string][]string {
	flags := make(map[string][]string)
	command := ""
	for _, line := range readDocument(t, "docs/hythe.1.md").prose {
		if strings.HasPrefix(line, "## ") {
			command = strings.TrimPrefix(line, "## hythe ")
			flags[command] = []string{"h"}
		}
		for _, m := range regexp.MustCompile("`-([a-z-]+)[` ]").FindAllStringSubmatch(line, -1) {
			flags[command] = append(flags[command], m[1])
		}
	}
	return flags
}

func checkHythe(flags map[string][]string, args []string) error {
	command := "run"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	if command == "help" || command == strings.ToUpper(command) {
		return nil
	}
	if flags[command] == nil {
		return fmt.Errorf("there is no command %s", command)
	}
	for _, arg := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") && name != "" && !slices.Contains(flags[command], name) {
			return fmt.Errorf("%s has no flag -%s", command, name)
		}
	}
	return nil
}

// checkGo looks at packages by their paths; after go run ./x also at the flags of
// the program, and after -run at tests.
func checkGo(words []string) error {
	at := slices.IndexFunc(words, func(w string) bool { return w == "." || strings.HasPrefix(w, "./") })
	if at < 0 || words[at] == "./directory" { // which stands for any
		return nil
	}
	dir := strings.TrimSuffix(words[at], "/...")
	var text []byte
	files, _ := filepath.Glob(filepath.Join(filepath.FromSlash(dir), "*.go"))
	for _, f := range files {
		src, _ := os.ReadFile(f)
		text = append(text, src...)
	}
	if files == nil && dir == words[at] {
		return fmt.Errorf("there is no package %s", dir)
	}
	if words[1] == "run" {
		for _, w := range words[at+1:] {
			if name, ok := strings.CutPrefix(w, "-"); ok && !bytes.Contains(text, []byte(`"`+name+`", `)) {
				return fmt.Errorf("%s has no flag %s", dir, w)
			}
		}
	}
	if i := slices.Index(words, "-run"); i > 0 && i+1 < len(words) {
		test, _, _ := strings.Cut(strings.Trim(words[i+1], "'"), "/")
		for pattern := range strings.SplitSeq(test, "|") {
			if pattern != "^$" && !regexp.MustCompile(`\nfunc (?:Test|Fuzz|Example)?\w*`+strings.Trim(pattern, "^$")).Match(text) {
				return fmt.Errorf("%s has no test %s", dir, pattern)
			}
		}
	}
	return nil
}

// What stands between backquotes and has the form of one of our exported symbols,
// or of a file's path, is there.
func TestDocs_NamesExist(t *testing.T) {
	a := api{make(map[string]bool), make(map[string][]string)}
	ours := make(map[string]bool) // by name; also those that nobody can import
	add := func(name, dir string) {
		ours[name] = true
		for _, f := range goFiles(dir, false) {
			for _, d := range f.Decls {
				a.addDecl(name, d)
			}
		}
	}
	for name, p := range packageNames(t) {
		if dir, ok := strings.CutPrefix(p, module); ok {
			add(name, path.Join(".", dir))
		}
	}
	for _, pattern := range []string{"internal/*", "cmd/hythe/internal/*"} {
		dirs, _ := filepath.Glob(filepath.FromSlash(pattern))
		for _, dir := range dirs {
			add(filepath.Base(dir), dir)
		}
	}
	has := func(symbol string) bool {
		if ours[strings.Split(symbol, ".")[0]] {
			return a.has(symbol)
		}
		for p := range ours { // without its package
			if a.has(p + "." + symbol) {
				return true
			}
		}
		return false
	}
	symbol := regexp.MustCompile(`^(?:([a-z]\w*)\.)?[A-Z]\w*(?:\.[A-Z]\w*)?`)
	file := regexp.MustCompile(`^[\w.*-][\w./*-]*(?:/|\.go|\.md|\.toml|\.service|\.socket)$|^(?:docs|examples|cmd|bench|fcgi|spool|codec)/[\w./*-]+$`)
	found := 0
	for _, name := range documents(t) {
		for i, line := range readDocument(t, name).prose {
			var dirs []string // of the other files in the line
			for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
				for dir := path.Clean(m[1]); dir != "." && dir != "/"; dir = path.Dir(dir) {
					dirs = append(dirs, dir)
				}
			}
			for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
				if file.MatchString(m[1]) {
					found++
					if !anyFile(m[1], append(dirs, path.Dir(name))) {
						t.Errorf("%s:%d: there is no %s", name, i+1, m[1])
					}
					continue
				}
				s := symbol.FindStringSubmatch(m[1])
				if s == nil || s[1] == "" && !strings.Contains(s[0], ".") || s[1] != "" && !ours[s[1]] {
					continue // nothing that says what it belongs to, or not ours
				}
				found++
				if !has(s[0]) {
					t.Errorf("%s:%d: there is no %s", name, i+1, s[0])
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d names were found", found)
	}
}

// anyFile reports whether there is a file of that name in one of the directories,
// be it seen from the root or, as in what is said of the relay, from its packages.
func anyFile(name string, dirs []string) bool {
	for _, base := range []string{".", "cmd/hythe", "cmd/hythe/internal", "cmd/hythe/internal/output"} {
		for _, dir := range append(dirs, ".") {
			if found, _ := filepath.Glob(filepath.FromSlash(path.Join(base, dir, name))); found != nil {
				return true
			}
		}
	}
	return false
}

// The guide to limits and clocks has each of them with the default that its
// documentation says, and every reason.
func TestDocs_LimitsAndClocks(t *testing.T) {
	text, err := os.ReadFile("docs/limits-and-clocks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, why := range hythe.Reasons() {
		name := ""
		for word := range strings.FieldsSeq(why.String()) {
			name += strings.ToUpper(word[:1]) + word[1:]
		}
		if !regexp.MustCompile(`\b` + name + `\b`).Match(text) {
			t.Errorf("%s is not in the guide", name)
		}
	}
	row := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| ([^|]+) \\|")
	documented := make(map[string]string)
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		documented[m[1]] = strings.ReplaceAll(m[2], "`", "")
	}
	for _, f := range goFiles(".", false) {
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != "Limits" && spec.Name.Name != "Timeouts" {
				return true
			}
			for _, field := range spec.Type.(*ast.StructType).Fields.List {
				doc := strings.Join(strings.Fields(field.Doc.Text()), " ")
				for _, name := range field.Names {
					if want := documented[name.Name]; want == "" || !strings.Contains(doc, want) {
						t.Errorf("%s.%s: the guide has the default %q; the documentation: %s", spec.Name, name, want, doc)
					}
				}
			}
			return false
		})
	}
}
