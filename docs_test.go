package hythe_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The Go code in the documentation is compiled. A block that begins with a
// package clause is a file of a program of its own, if that is main; all other
// blocks of a document are one package, so that later ones can use what earlier
// ones have declared. Among them are fragments, without a package clause: their
// imports are found by the packages' names, and one that does not consist of
// declarations is the body of a function. A comment before a block, which readers
// do not see, can say what it stands in:
//
//	<!-- go: func(w http.ResponseWriter, r *http.Request) -->   the function
//	<!-- go: var mux http.Handler -->                           declarations
//
// Without one the function is func(ctx context.Context) error. A … between blanks
// stands for anything. Fragments need not use all of their variables.
func TestDocs_CodeCompiles(t *testing.T) {
	fset := token.NewFileSet()
	importable := packageNames(t)
	var all []docPackage
	for _, name := range documents(t) {
		all = append(all, docPackages(t, fset, readDocument(t, name), importable)...)
	}
	if len(all) < 15 {
		t.Errorf("only %d packages were found", len(all))
	}
	from := exportData(t, all)
	for _, p := range all {
		conf := types.Config{Importer: from, Error: func(err error) {
			if e := err.(types.Error); !e.Soft || p.program {
				t.Errorf("%v: %s", fset.Position(e.Pos), e.Msg)
			}
		}}
		conf.Check(p.files[0].Name.Name, fset, p.files, nil)
	}
}

// A docPackage is some of a document's code.
type docPackage struct {
	files   []*ast.File
	program bool // to be run as it is
}

func docPackages(t *testing.T, fset *token.FileSet, d document, importable map[string]string) (ps []docPackage) {
	rest := docPackage{}
	for _, b := range d.blocks {
		if b.lang != "go" {
			continue
		}
		src := b.source(importable)
		f, err := parser.ParseFile(fset, "", src, parser.SkipObjectResolution)
		switch {
		case err != nil:
			t.Errorf("%s: %v", d.name, err)
		case f.Name.Name == "main":
			ps = append(ps, docPackage{[]*ast.File{f}, true})
		default:
			f.Name.Name = "doc"
			rest.files = append(rest.files, f)
		}
	}
	if len(rest.files) > 0 {
		ps = append(ps, rest)
	}
	return ps
}

var (
	packageClause = regexp.MustCompile(`(?m)^package `)
	anything      = regexp.MustCompile(`(^|[\s{])…`)
)

// source returns a block as a file, in which lines have the numbers that they have
// in the document.
func (b docBlock) source(importable map[string]string) string {
	text := fmt.Sprintf("//line %s:%d\n%s", b.file, b.line, anything.ReplaceAllString(b.text, "${1}panic(0)"))
	if packageClause.MatchString(b.text) {
		return text
	}
	function, decls := "func(ctx context.Context) error", b.context
	if strings.HasPrefix(b.context, "func(") {
		function, decls = b.context, ""
	}
	parse := func(text string) (*ast.File, error) {
		return parser.ParseFile(token.NewFileSet(), "", "package doc\n"+text, parser.SkipObjectResolution)
	}
	fragment := text
	text = fragment + "\n" + decls
	f, err := parse(text)
	if err != nil || function == b.context {
		text = "func _" + strings.TrimPrefix(function, "func") + " {\n{\n" + fragment + "\n}\npanic(0)\n}\n" + decls
		if f, err = parse(text); err != nil {
			return "package doc\n" + text // and be told so
		}
	}
	imports := make(map[string]bool)
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.IsExported() {
			if id, ok := sel.X.(*ast.Ident); ok && importable[id.Name] != "" {
				imports[importable[id.Name]] = true
			}
		}
		return true
	})
	head := "package doc\n"
	for _, p := range slices.Sorted(maps.Keys(imports)) {
		head += "import " + strconv.Quote(p) + "\n"
	}
	return head + text
}

// packageNames returns the import paths of ours and of the standard library's
// packages, by name. Of two with the same name ours is meant, or the shorter one.
func packageNames(t *testing.T) map[string]string {
	names := make(map[string]string)
	for _, line := range goList(t, "-f", "{{.Name}} {{.ImportPath}}", "std", "./...") {
		name, p, _ := strings.Cut(line, " ")
		old := names[name]
		if name == "main" || strings.Contains(p, "internal") || strings.Contains(p, "vendor/") || strings.HasPrefix(old, module) ||
			old != "" && len(old) < len(p) && !strings.HasPrefix(p, module) {
			continue
		}
		names[name] = p
	}
	names["rand"] = "math/rand/v2"
	return names
}

// exportData has the packages that are imported compiled, by the go command, and
// returns an importer of what came out.
func exportData(t *testing.T, ps []docPackage) types.Importer {
	args := []string{"-deps", "-export", "-f", "{{if .Export}}{{.ImportPath}} {{.Export}}{{end}}"}
	for _, p := range ps {
		for _, f := range p.files {
			for _, spec := range f.Imports {
				p, _ := strconv.Unquote(spec.Path.Value)
				args = append(args, p)
			}
		}
	}
	slices.Sort(args[4:])
	files := make(map[string]string)
	for _, line := range goList(t, slices.Compact(args)...) {
		p, file, _ := strings.Cut(line, " ")
		files[p] = file
	}
	return importer.ForCompiler(token.NewFileSet(), "gc", func(p string) (io.ReadCloser, error) {
		return os.Open(files[p])
	})
}

func goList(t *testing.T, args ...string) []string {
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}

// A document is a file of the documentation.
type document struct {
	name   string // its path, with slashes
	blocks []docBlock
	prose  []string        // the lines, with those of blocks empty
	titles map[string]bool // the fragments of links to its headings
}

// A docBlock is a fenced block of code.
type docBlock struct {
	file    string
	line    int // of its first line
	lang    string
	context string // of the comment in front
	text    string
}

// documents returns the names of the documentation's files.
func documents(t *testing.T) []string {
	names := []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"}
	err := filepath.WalkDir("docs", func(name string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(name, ".md") {
			names = append(names, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

var (
	blockContext = regexp.MustCompile(`(?s)^<!-- go: (.*?) -->$`)
	heading      = regexp.MustCompile(`^#{1,6} +(.*)$`)
	notInTitles  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

func readDocument(t *testing.T, name string) document {
	text, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	d := document{name: name, titles: make(map[string]bool)}
	var block *docBlock
	context, comment := "", false
	for i, line := range strings.Split(string(text), "\n") {
		prose := ""
		switch fence := strings.HasPrefix(line, "```"); {
		case block != nil && !fence:
			block.text += line + "\n"
		case block != nil:
			d.blocks = append(d.blocks, *block)
			block = nil
		case fence:
			block = &docBlock{file: name, line: i + 2, lang: strings.TrimPrefix(line, "```")}
			if m := blockContext.FindStringSubmatch(strings.TrimSpace(context)); m != nil {
				block.context = m[1]
			}
			context = ""
		case comment || strings.HasPrefix(line, "<!-- go: "):
			context += line + "\n"
			comment = !strings.HasSuffix(line, "-->")
		default:
			prose = line
			if m := heading.FindStringSubmatch(line); m != nil {
				title := strings.ReplaceAll(notInTitles.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")
				d.titles["#"+title] = true
			}
		}
		d.prose = append(d.prose, prose)
	}
	if block != nil || comment {
		t.Errorf("%s: a block or a comment does not end", name)
	}
	return d
}
