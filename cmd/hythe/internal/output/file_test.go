package output

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
)

// linesOf returns the lines of files, which must all have their end.
func linesOf(t *testing.T, paths ...string) (lines []string) {
	t.Helper()
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 0 && b[len(b)-1] != '\n' {
			t.Errorf("%s ends within a line", path)
		}
		lines = append(lines, slices.Collect(func(yield func(string) bool) {
			for line := range strings.Lines(string(b)) {
				if !yield(strings.TrimSuffix(line, "\n")) {
					return
				}
			}
		})...)
	}
	return lines
}

// files returns the paths in a directory, by name, that of the current file last.
func files(t *testing.T, current string) (paths []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(current))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(current) {
			paths = append(paths, filepath.Join(filepath.Dir(current), e.Name()))
		}
	}
	slices.SortFunc(paths, func(a, b string) int { // a second file of a second comes behind the first
		return strings.Compare(strings.TrimSuffix(a, ".log"), strings.TrimSuffix(b, ".log"))
	})
	return append(paths, current)
}

func TestFileHasWhatIsConfirmed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "name.log")
	c := settings("file://" + path)
	c.Mode = "0604"
	f, _ := deliver(t, c, Options{})
	want := sequence(0, 5000)
	f.Put(want...)
	settled(t, f)
	expectAll(t, linesOf(t, path), want)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o604 {
		t.Errorf("mode %v (%v), want 0604", info.Mode(), err)
	}
}

func TestFileRotatesBySize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "name.log")
	c := settings("file://" + path)
	c.RotateBytes, c.BatchMessages = 4000, 50
	f, _ := deliver(t, c, Options{})
	want := sequence(0, 1000)
	f.Put(want...)
	settled(t, f)
	all := files(t, path)
	if len(all) < 4 {
		t.Errorf("%d files: %q", len(all), all)
	}
	for _, name := range all {
		if info, err := os.Stat(name); err != nil || info.Size() > 4000 {
			t.Errorf("%s: %d bytes (%v), want at most 4000", name, info.Size(), err)
		}
		if _, ok := parseOld("name.log", filepath.Base(name)); !ok && name != path {
			t.Errorf("strange name: %s", name)
		}
	}
	expectSet(t, linesOf(t, all...), want)
}

// expectSet checks that everything is there once, in whatever order.
func expectSet(t *testing.T, got, want []string) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d lines, want %d", len(got), len(want))
	}
}

func TestFileRotatesWhenItsTimeIsOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "name.log")
	c := settings("file://" + path)
	c.RotateEvery = config.Duration(time.Hour)
	f, _ := deliver(t, c, Options{})
	f.Put("old")
	settled(t, f)
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	f.Put("new")
	settled(t, f)
	all := files(t, path)
	if len(all) != 2 {
		t.Fatalf("files: %q", all)
	}
	expectAll(t, linesOf(t, all[0]), []string{"old"})
	expectAll(t, linesOf(t, path), []string{"new"})
}

func TestFileKeepsSoManyRotatedOnes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "name.log")
	bystanders := []string{"name-other.log", "name-20200101T000000.txt", "rename-20200101T000000.log", "name-20200101T000000-x.log"}
	for _, name := range append(bystanders, "name-20200101T000000.log", "name-20200101T000000-2.log") {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := settings("file://" + path)
	c.RotateBytes, c.Keep = 1, 3
	f, _ := deliver(t, c, Options{})
	for i := range 14 {
		f.Put(fmt.Sprint(i))
		settled(t, f)
	}
	for _, name := range bystanders {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	var lines []string
	for _, name := range files(t, path) {
		if _, ok := parseOld("name.log", filepath.Base(name)); ok || name == path {
			lines = append(lines, linesOf(t, name)...)
		}
	}
	expectSet(t, lines, []string{"10", "11", "12", "13"})
}

func TestFileThatIsMovedAwayIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "name.log")
	f, _ := deliver(t, settings("file://"+path), Options{})
	f.Put("1")
	settled(t, f)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	f.Put("2")
	settled(t, f)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	f.Put("3")
	settled(t, f)
	if err := os.Truncate(path, 0); err != nil { // copytruncate
		t.Fatal(err)
	}
	f.Put("4")
	settled(t, f)
	expectAll(t, linesOf(t, path+".1"), []string{"1"})
	expectAll(t, linesOf(t, path), []string{"4"})
}

func TestTornLineIsEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "name.log")
	if err := os.WriteFile(path, []byte("whole\nto"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, _ := deliver(t, settings("file://"+path), Options{})
	f.Put("torn", "next")
	settled(t, f)
	expectAll(t, linesOf(t, path), []string{"whole", "to", "torn", "next"})
}

func TestFileWithoutVisibleEndsIsNotAddedToAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "name.bin")
	c := settings("file://" + path)
	c.Framing = "netstring"
	for i := range 2 {
		f, _ := deliver(t, c, Options{})
		f.Put("a")
		settled(t, f)
		f.Put("b")
		settled(t, f)
		if err := f.Route.Stop(relaytest.Output); err != nil {
			t.Fatal(err)
		}
		if b, _ := os.ReadFile(path); string(b) != "1:a,1:b," {
			t.Errorf("%q", b)
		}
		if n := len(files(t, path)); n != i+1 {
			t.Errorf("%d files, want %d", n, i+1)
		}
	}
}

func TestSeveralOutputsShareAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "name.log")
	c := settings("file://" + path)
	c.RotateBytes, c.BatchMessages = 20_000, 100
	var want []string
	var all []*relaytest.Fixture
	for i := range 3 {
		f, _ := deliver(t, c, Options{})
		part := sequence(i*2000, (i+1)*2000)
		want = append(want, part...)
		f.Put(part...)
		all = append(all, f)
	}
	for _, f := range all {
		settled(t, f)
	}
	expectSet(t, linesOf(t, files(t, path)...), want)
}

func TestWhatIsNoFileIsRefusedVisibly(t *testing.T) {
	f, out := deliver(t, settings("file://"+t.TempDir()), Options{})
	f.Put("1")
	eventually(t, "the cause", func() bool { s, _ := out.Link(); return s.Cause != nil })
	if f.Delivered() != 0 {
		t.Error("it was delivered")
	}
}

func TestFileInADirectoryThatComesLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	f, out := deliver(t, settings("file://"+dir+"/name.log"), Options{})
	f.Put("1")
	eventually(t, "the cause", func() bool { s, _ := out.Link(); return s.Cause != nil })
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	settled(t, f)
	expectAll(t, linesOf(t, dir+"/name.log"), []string{"1"})
}

func TestMessagesThatTheFilesFramingCannotHoldBecomeDeadLetters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "name.json")
	c := settings("file://" + path)
	c.Framing = "json"
	f, _ := deliver(t, c, Options{})
	f.PutMessages(relay.Message{Body: []byte(`{"a":1}`)}, relay.Message{Body: []byte("{")}, relay.Message{Body: []byte("2")})
	settled(t, f)
	expectAll(t, linesOf(t, path), []string{`{"a":1}`, "2"})
	if dead := f.Dead(); len(dead) != 1 || string(dead[0].Body) != "{" {
		t.Errorf("dead letters: %v", dead)
	}
}
