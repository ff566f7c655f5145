package hythe_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Each row of the tables in docs/coming-from-perl.md says what stands in the
// place of something of Perl's and names the tests that show it, or says why
// there is nothing. What it names must be there.
func TestComingFromPerl(t *testing.T) {
	const name = "docs/coming-from-perl.md"
	text, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	c := perlChecker{api: exportedAPI(), tests: make(map[string]map[string]bool)}
	rows, code := 0, false
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		if code {
			continue
		}
		wrong := c.checkSymbols(line)
		if strings.HasPrefix(line, "|") && line != "| in Perl | in Go | proof |" && line != "|---|---|---|" {
			rows++
			wrong = append(wrong, c.checkRow(line)...)
		}
		for _, w := range wrong {
			t.Errorf("%s:%d: %s", name, i+1, w)
		}
	}
	if rows < 150 {
		t.Errorf("only %d rows were found", rows)
	}
}

// The packages whose symbols are looked up, and those of the standard library
// that may be named as well.
var (
	perlPackages = map[string]string{
		"hythe": ".", "listen": "listen", "codec": "codec", "fcgi": "fcgi",
		"httpd": "httpd", "middleware": "httpd/middleware", "link": "link",
	}
	perlStandard = []string{"bufio", "http", "io", "net", "time"}
)

var (
	codeSpan   = regexp.MustCompile("`([^`]+)`")
	symbolSpan = regexp.MustCompile("`(([a-z]+)\\.\\w+(?:\\.\\w+)?)`")
	testSpan   = regexp.MustCompile("`([a-z][a-z0-9/-]*): ((?:Test|Example)\\w*)`")
	reason     = regexp.MustCompile(`^(?:not here|not needed): .{10}`)
)

type perlChecker struct {
	api   api
	tests map[string]map[string]bool // by directory
}

// checkSymbols returns which symbols of a line are not there.
func (c *perlChecker) checkSymbols(line string) (wrong []string) {
	for _, m := range symbolSpan.FindAllStringSubmatch(line, -1) {
		if _, ours := perlPackages[m[2]]; ours && !c.api.has(m[1]) || !ours && !slices.Contains(perlStandard, m[2]) {
			wrong = append(wrong, "there is no "+m[1])
		}
	}
	return wrong
}

// checkRow returns what is wrong with a row otherwise.
func (c *perlChecker) checkRow(row string) (wrong []string) {
	cells := strings.Split(row, "|") // and an empty one at each end
	if len(cells) != 5 {
		return []string{"a row has three cells"}
	}
	here, proof := cells[2], strings.TrimSpace(cells[3])
	proofs := testSpan.FindAllStringSubmatch(proof, -1)
	for _, m := range proofs {
		if !c.hasTest(m[1], m[2]) {
			wrong = append(wrong, fmt.Sprintf("there is no %s in %s", m[2], m[1]))
		}
	}
	switch {
	case strings.TrimSpace(cells[1]) == "":
		wrong = append(wrong, "it does not say what it is about")
	case reason.MatchString(proof):
	case len(proofs) == 0 || len(proofs) != len(codeSpan.FindAllString(proof, -1)):
		wrong = append(wrong, "the third cell has neither tests nor a reason")
	case !codeSpan.MatchString(here):
		wrong = append(wrong, "the tests show nothing that is named")
	}
	return wrong
}

func (c *perlChecker) hasTest(dir, name string) bool {
	if dir == "hythe" {
		dir = "."
	}
	if c.tests[dir] == nil {
		c.tests[dir] = make(map[string]bool)
		for _, f := range goFiles(dir, true) {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
					c.tests[dir][fn.Name.Name] = true
				}
			}
		}
	}
	return c.tests[dir][name]
}

// goFiles parses the files of a directory, for whatever system: its tests, or
// all others.
func goFiles(dir string, tests bool) (files []*ast.File) {
	names, _ := filepath.Glob(filepath.Join(filepath.FromSlash(dir), "*.go"))
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") != tests {
			continue
		}
		if f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution); err == nil {
			files = append(files, f)
		}
	}
	return files
}

// An api has what packages export, as package.Name and package.Type.Member, and
// what their types embed.
type api struct {
	names  map[string]bool
	embeds map[string][]string
}

func exportedAPI() api {
	a := api{make(map[string]bool), make(map[string][]string)}
	for pkg, dir := range perlPackages {
		for _, f := range goFiles(dir, false) {
			for _, d := range f.Decls {
				a.addDecl(pkg, d)
			}
		}
	}
	return a
}

// has reports whether there is such a symbol. A member may be an embedded
// type's.
func (a api) has(symbol string) bool {
	i := strings.LastIndexByte(symbol, '.')
	return a.names[symbol] || slices.ContainsFunc(a.embeds[symbol[:i]], func(embedded string) bool {
		return a.has(embedded + symbol[i:])
	})
}

func (a api) add(name string) {
	if token.IsExported(name[strings.LastIndexByte(name, '.')+1:]) {
		a.names[name] = true
	}
}

func (a api) addDecl(pkg string, d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			a.add(pkg + "." + d.Name.Name)
		} else {
			a.add(typeName(pkg, d.Recv.List[0].Type) + "." + d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.ValueSpec:
				for _, id := range spec.Names {
					a.add(pkg + "." + id.Name)
				}
			case *ast.TypeSpec:
				a.addType(pkg, spec, d.Doc.Text())
			}
		}
	}
}

// optional finds the methods that an interface's documentation lists because
// they are looked for and not demanded, as those of hythe.Session.
var optional = regexp.MustCompile(`(?m)^\t(?:([A-Z]\w*)\(.*?\), )?([A-Z]\w*)\(`)

func (a api) addType(pkg string, spec *ast.TypeSpec, doc string) {
	name := pkg + "." + spec.Name.Name
	a.add(name)
	var members []*ast.Field
	switch t := spec.Type.(type) {
	case *ast.StructType:
		members = t.Fields.List
	case *ast.InterfaceType:
		members = t.Methods.List
		for _, m := range optional.FindAllStringSubmatch(doc, -1) {
			a.add(name + "." + m[1])
			a.add(name + "." + m[2])
		}
	}
	for _, m := range members {
		for _, id := range m.Names {
			a.add(name + "." + id.Name)
		}
		if len(m.Names) == 0 {
			a.embeds[name] = append(a.embeds[name], typeName(pkg, m.Type))
		}
	}
}

// typeName returns the name of a type with its package and without pointer and
// type arguments.
func typeName(pkg string, t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return typeName(pkg, t.X)
	case *ast.IndexExpr:
		return typeName(pkg, t.X)
	case *ast.IndexListExpr:
		return typeName(pkg, t.X)
	case *ast.SelectorExpr:
		return typeName("", t.X) + "." + t.Sel.Name
	case *ast.Ident:
		return strings.TrimPrefix(pkg+"."+t.Name, ".")
	}
	return ""
}
