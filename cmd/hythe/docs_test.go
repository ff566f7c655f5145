package main

import (
	"flag"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/hythe.1.md has every command with its flags, and no others.
func TestDocs_HaveEveryFlag(t *testing.T) {
	text, err := os.ReadFile("../../docs/hythe.1.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := make(map[string]string)
	for section := range strings.SplitSeq(string(text), "\n## ") {
		title, body, _ := strings.Cut(section, "\n")
		sections[title] = body
	}
	for _, c := range commands() {
		body, ok := sections["hythe "+c.name]
		if !ok {
			t.Errorf("%s is not documented", c.name)
			continue
		}
		f := flag.NewFlagSet(c.name, flag.ContinueOnError)
		f.SetOutput(io.Discard)
		c.run(&program{stdout: io.Discard, stderr: io.Discard}, t.Context(), f, []string{"-h"})
		var there, documented []string
		f.VisitAll(func(f *flag.Flag) { there = append(there, f.Name) })
		for _, m := range regexp.MustCompile("(?m)(?:^\\| |[:,] )`-([a-z-]+)[` ]").FindAllStringSubmatch(body, -1) {
			documented = append(documented, m[1])
		}
		slices.Sort(documented)
		if documented = slices.Compact(documented); !slices.Equal(there, documented) {
			t.Errorf("%s has %q, and documented are %q", c.name, there, documented)
		}
	}
}
