package hythe_test

import (
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "make the API as it is the recorded one")

// The exported API of every public package, the same on every system, is recorded
// in testdata/api, one line for each symbol, field and method, so that nothing
// changes unnoticed. A line that is gone breaks programs; one that is new does
// not. (The methods of an interface that others can implement are therefore one
// line together as well.) The names of parameters do not count.
func TestAPI(t *testing.T) {
	here, elsewhere := newAPIReader("linux"), newAPIReader("windows")
	var files []string
	for _, pkg := range slices.Sorted(maps.Keys(mayImport)) {
		if strings.HasPrefix(pkg, "internal/") {
			continue
		}
		now, err := here.lines(pkg)
		if err != nil {
			t.Errorf("package %s: %v", pkg, err)
			continue
		}
		name := strings.Replace(pkg, ".", "hythe", 1)
		file := filepath.Join("testdata", "api", filepath.FromSlash(name)+".txt")
		files = append(files, file)
		checkAPI(t, name, file, now)

		there, err := elsewhere.lines(pkg)
		if err != nil {
			t.Errorf("package %s, on windows: %v", name, err)
		} else if _, _, diff := compare(now, there); diff != "" {
			t.Errorf("package %s: windows (+) and linux (-) differ:\n%s", name, diff)
		}
	}
	err := filepath.WalkDir(filepath.Join("testdata", "api"), func(file string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !slices.Contains(files, file) {
			t.Errorf("INCOMPATIBLE: the package of %s is gone. If it is meant, say so in CHANGELOG.md and remove the file.", file)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func checkAPI(t *testing.T, name, file string, now []string) {
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(strings.Join(now, "\n")+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	record, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	lost, added, diff := compare(strings.Split(strings.TrimSpace(string(record)), "\n"), now)
	const how = "If it is meant, say so in CHANGELOG.md and run\n\tgo test -run TestAPI -update ."
	switch {
	case lost:
		t.Errorf("package %s: INCOMPATIBLE: lines of the recorded API were removed or changed:\n%s%s", name, diff, how)
	case added:
		t.Errorf("package %s: compatible: lines were added to the recorded API:\n%s%s", name, diff, how)
	}
}

// compare says whether lines of the record are gone, and whether there are new
// ones, and shows both in order, so that what a line was stands beside what it is.
func compare(record, now []string) (lost, added bool, diff string) {
	all := slices.Concat(record, now)
	slices.Sort(all)
	for _, line := range slices.Compact(all) {
		switch was, is := slices.Contains(record, line), slices.Contains(now, line); {
		case line == "": // an empty record
		case !is:
			lost = true
			diff += "\t- " + line + "\n"
		case !was:
			added = true
			diff += "\t+ " + line + "\n"
		}
	}
	return lost, added, diff
}

func TestAPI_LostLinesAreToldFromNewOnes(t *testing.T) {
	record := []string{"func F(int)", "func G()", "func H()"}
	for _, test := range []struct {
		now         []string
		lost, added bool
		diff        string
	}{
		{record, false, false, ""},
		{[]string{"func F(int)", "func G()", "func H()", "var V int"}, false, true, "\t+ var V int\n"},
		{[]string{"func F(int)", "func H()"}, true, false, "\t- func G()\n"},
		{[]string{"func F(string)", "func G()", "func H()"}, true, true, "\t- func F(int)\n\t+ func F(string)\n"},
	} {
		lost, added, diff := compare(record, test.now)
		if lost != test.lost || added != test.added || diff != test.diff {
			t.Errorf("compare(%q) = %t, %t, %q", test.now, lost, added, diff)
		}
	}
}

// An apiReader reads packages from source, for one operating system whatever the one
// is that the test runs on, and without the bodies of functions.
type apiReader struct {
	context  build.Context
	files    *token.FileSet
	packages map[string]*types.Package
}

func newAPIReader(system string) *apiReader {
	c := build.Default
	c.GOOS, c.GOARCH, c.CgoEnabled = system, "amd64", false
	return &apiReader{c, token.NewFileSet(), map[string]*types.Package{"unsafe": types.Unsafe}}
}

func (a *apiReader) Import(path string) (*types.Package, error) { return a.ImportFrom(path, "", 0) }

// ImportFrom makes an apiReader a types.ImporterFrom. Packages that are neither ours
// nor the standard library's are taken for empty: none of them may be seen in
// the API.
func (a *apiReader) ImportFrom(path, from string, _ types.ImportMode) (*types.Package, error) {
	if p := a.packages[path]; p != nil {
		return p, nil
	}
	var found *build.Package
	var err error
	if rest, ours := strings.CutPrefix(path+"/", module+"/"); ours {
		found, err = a.context.ImportDir(filepath.Join(".", filepath.FromSlash(rest)), 0)
	} else if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") && !strings.HasPrefix(from, a.context.GOROOT) {
		p := types.NewPackage(path, path[strings.LastIndexByte(path, '/')+1:])
		p.MarkComplete()
		return p, nil
	} else {
		found, err = a.context.Import(path, from, 0)
	}
	if err != nil {
		return nil, err
	}
	if p := a.packages[found.ImportPath]; p != nil { // the standard library's own copies have other paths
		return p, nil
	}
	var files []*ast.File
	for _, name := range found.GoFiles {
		f, err := parser.ParseFile(a.files, filepath.Join(found.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		ast.Inspect(f, forgetNames)
		files = append(files, f)
	}
	conf := types.Config{
		Importer:         a,
		IgnoreFuncBodies: true,
		Sizes:            types.SizesFor("gc", a.context.GOARCH),
		Error:            func(error) {}, // of empty packages; lines sees what matters of them
	}
	p, _ := conf.Check(path, a.files, files, nil)
	a.packages[path] = p
	return p, nil
}

// forgetNames leaves out the names of parameters and results.
func forgetNames(n ast.Node) bool {
	f, ok := n.(*ast.FuncType)
	if !ok {
		return true
	}
	for _, list := range []*ast.FieldList{f.Params, f.Results} {
		if list == nil {
			continue
		}
		var without []*ast.Field
		for _, field := range list.List {
			for range max(1, len(field.Names)) {
				without = append(without, &ast.Field{Type: field.Type})
			}
		}
		list.List = without
	}
	return true
}

// lines returns the API of the package in a directory, in order.
func (a *apiReader) lines(dir string) ([]string, error) {
	p, err := a.Import(strings.TrimSuffix(module+"/"+dir, "/."))
	if err != nil {
		return nil, err
	}
	short := func(other *types.Package) string {
		if other == p {
			return ""
		}
		return other.Name()
	}
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, name := range p.Scope().Names() {
		o := p.Scope().Lookup(name)
		if !o.Exported() {
			continue
		}
		switch o := o.(type) {
		case *types.Const:
			add("const %s %s = %s", name, types.TypeString(o.Type(), short), o.Val().ExactString())
		case *types.TypeName:
			addType(add, o, short)
		default: // func F(int), var V int
			add("%s", types.ObjectString(o, short))
		}
	}
	slices.Sort(lines)
	for _, line := range lines {
		if strings.Contains(line, "invalid type") {
			return nil, fmt.Errorf("cannot be understood: %s", line)
		}
	}
	return lines, nil
}

func addType(add func(string, ...any), o *types.TypeName, short types.Qualifier) {
	if o.IsAlias() {
		add("%s", types.ObjectString(o, short))
		return
	}
	t := o.Type().(*types.Named)
	name := "type " + o.Name()
	list := strings.TrimPrefix(types.TypeString(t, short), o.Name()) // its type parameters
	switch u := t.Underlying().(type) {
	case *types.Struct:
		addStruct(add, name, name+list, u, short)
	case *types.Interface:
		addInterface(add, name, name+list, u, short)
		return
	default:
		add("%s%s %s", name, list, types.TypeString(u, short))
	}
	values := types.NewMethodSet(t)
	for m := range types.NewMethodSet(types.NewPointer(t)).Methods() {
		f := m.Obj()
		if !f.Exported() || len(m.Index()) > 1 && t.Underlying().(*types.Struct).Field(m.Index()[0]).Exported() {
			continue // or it is the embedded type's, which is in the record
		}
		receiver := o.Name()
		if values.Lookup(f.Pkg(), f.Name()) == nil {
			receiver = "*" + receiver
		}
		add("method (%s) %s%s", receiver, f.Name(), strings.TrimPrefix(types.TypeString(f.Type(), short), "func"))
	}
}

func addStruct(add func(string, ...any), name, whole string, s *types.Struct, short types.Qualifier) {
	comparable := ", comparable"
	if !types.Comparable(s) {
		comparable = ""
	}
	for f := range s.Fields() {
		switch {
		case !f.Exported():
			comparable = "" // nobody should rely on it
		case f.Embedded():
			add("%s struct, embedded %s", name, types.TypeString(f.Type(), short))
		default:
			add("%s struct, %s %s", name, f.Name(), types.TypeString(f.Type(), short))
		}
	}
	add("%s struct%s", whole, comparable)
}

func addInterface(add func(string, ...any), name, whole string, i *types.Interface, short types.Qualifier) {
	var names []string
	sealed := false
	for m := range i.Methods() {
		if !m.Exported() {
			sealed = true
			continue
		}
		names = append(names, m.Name())
		add("%s interface, %s%s", name, m.Name(), strings.TrimPrefix(types.TypeString(m.Type(), short), "func"))
	}
	if sealed { // nobody else can implement it: it may get more methods
		names = []string{"unexported methods"}
	}
	add("%s interface { %s }", whole, strings.Join(names, ", "))
}
