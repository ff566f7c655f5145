package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/hythe-go/hythe/listen"
)

// Load reads a configuration file. The error joins everything that is wrong with
// it, each a *Problem with its line; of values that are of the wrong type only the
// first is told.
func Load(path string) (*Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, b)
}

// Parse reads a configuration; name is what errors call it.
func Parse(name string, data []byte) (*Config, error) {
	c := &Config{Path: name}
	err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(c)
	var strict *toml.StrictMissingError
	var bad *toml.DecodeError
	var wrong []*Problem
	unknown := make(map[string]bool)
	switch {
	case errors.As(err, &strict):
		for _, e := range strict.Errors {
			row, _ := e.Position()
			key := strings.Join(e.Key(), ".")
			unknown[key] = true
			wrong = append(wrong, &Problem{File: name, Line: row, Key: key, Text: "there is no such key"})
		}
	case errors.As(err, &bad):
		row, _ := bad.Position()
		return nil, &Problem{File: name, Line: row, Key: strings.Join(bad.Key(), "."), Text: strings.TrimPrefix(bad.Error(), "toml: ")}
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c.places = placesOf(data)
	c.fill()
	known := slices.DeleteFunc(c.check(), func(p *Problem) bool { return unknown[p.Key] })
	if err := join(append(wrong, known...)); err != nil {
		return nil, err
	}
	return c, nil
}

// Default returns the configuration that is used without any: lines, HTTP and
// FastCGI, to standard output.
func Default() *Config { return With(Flags{}) }

// Flags are the parts of a configuration that fit on a command line. What is
// empty has the default.
type Flags struct {
	Listen []string // endpoints of lines; "-" is standard input
	To     string   // "-" is standard output
	Data   string
	Admin  string
}

// With returns the configuration that flags describe. It is not checked: see
// Validate.
func With(f Flags) *Config {
	to, name := f.To, "out"
	if to == "" || to == "-" || to == "stdout:" {
		to, name = "stdout:", "stdout"
	}
	c := &Config{
		Data:   cmp.Or(f.Data, defaultData),
		Admin:  Admin{Listen: f.Admin},
		Input:  make(map[string]*Input),
		Output: map[string]*Output{name: {To: Strings{to}}},
		Route:  map[string]*Route{"all": {To: []string{name}}},
	}
	var lines []string
	for _, endpoint := range f.Listen {
		if endpoint == "-" {
			c.Input["stdin"] = &Input{Protocol: "stdin"}
		} else {
			lines = append(lines, endpoint)
		}
	}
	switch {
	case len(f.Listen) == 0:
		fastCGI := listen.Endpoint{Scheme: listen.SchemeUnix, Path: filepath.Join(c.Data, "fcgi.sock"), Mode: 0o660}
		c.Input["lines"] = &Input{Listen: []string{"tcp://127.0.0.1:7000"}}
		c.Input["http"] = &Input{Protocol: "http", Listen: []string{"tcp://127.0.0.1:7080"}}
		c.Input["fcgi"] = &Input{Protocol: "fcgi", Listen: []string{fastCGI.String()}}
	case len(lines) > 0:
		c.Input["lines"] = &Input{Listen: lines}
	}
	c.fill()
	return c
}

// Validate says everything that is wrong with a configuration: the error joins
// *Problems. Load and Parse have done it.
func (c *Config) Validate() error { return join(c.check()) }

// join joins problems, in the order of their lines.
func join(problems []*Problem) error {
	slices.SortStableFunc(problems, func(a, b *Problem) int { return cmp.Compare(a.Line, b.Line) })
	var errs []error
	for _, p := range problems {
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}

const defaultData = "./hythe-data"

// fill puts the defaults in.
func (c *Config) fill() {
	c.Data = cmp.Or(c.Data, defaultData)
	c.Drain = cmp.Or(c.Drain, Duration(5*time.Second))
	c.Log.Level = cmp.Or(c.Log.Level, "info")
	c.Log.Format = cmp.Or(c.Log.Format, "text")
	c.Admin.Listen = cmp.Or(c.Admin.Listen, "tcp://127.0.0.1:7070")
	for name, i := range c.Input { // go-toml leaves no pointer nil
		i.Name = name
		i.Protocol = cmp.Or(i.Protocol, "frames")
		i.Framing = cmp.Or(i.Framing, "lines")
		i.Ack = cmp.Or(i.Ack, "none")
		i.Window = cmp.Or(i.Window, 1024)
		i.MaxMessage = cmp.Or(i.MaxMessage, 1<<20)
		i.MaxBody = cmp.Or(i.MaxBody, 16<<20)
		i.Path = cmp.Or(i.Path, "/in")
		i.KeyHeader = cmp.Or(i.KeyHeader, "Hythe-Key")
		i.Repeats = cmp.Or(i.Repeats, 16384)
	}
	for name, o := range c.Output {
		o.Name = name
		o.Framing = cmp.Or(o.Framing, "lines")
		o.BatchMessages = cmp.Or(o.BatchMessages, 1000)
		o.BatchBytes = cmp.Or(o.BatchBytes, 1<<20)
		o.Lanes = cmp.Or(o.Lanes, 1)
		o.Timeout = cmp.Or(o.Timeout, Duration(30*time.Second))
		o.Retry = cmp.Or(o.Retry, Duration(2*time.Second))
		o.RetryMax = cmp.Or(o.RetryMax, Duration(time.Minute))
		o.Format = cmp.Or(o.Format, "lines")
		o.RotateBytes = cmp.Or(o.RotateBytes, 64<<20)
		o.Mode = cmp.Or(o.Mode, "0640")
	}
	for name, r := range c.Route {
		r.Name = name
		r.Spool.MaxBytes = cmp.Or(r.Spool.MaxBytes, 1<<30)
		r.Spool.Overflow = cmp.Or(r.Spool.Overflow, "refuse")
		r.Spool.Segment = cmp.Or(r.Spool.Segment, 64<<20)
		r.Spool.DeadBytes = cmp.Or(r.Spool.DeadBytes, 256<<20)
	}
}

// A Problem is something about a key, or a table, that is wrong or most likely not
// meant.
type Problem struct {
	File string // empty: the configuration is from the command line, or built in
	Line int    // 0: not known
	Key  string // dotted, as input.web.listen; empty: the whole
	Text string
}

// Error says where the problem is, and what.
func (p *Problem) Error() string {
	var where string
	if p.File != "" {
		where = p.File + ": "
		if p.Line > 0 {
			where = fmt.Sprintf("%s:%d: ", p.File, p.Line)
		}
	}
	if p.Key != "" {
		where += p.Key + ": "
	}
	return where + p.Text
}

// problem returns a problem with its place.
func (c *Config) problem(key, format string, args ...any) *Problem {
	return &Problem{File: c.Path, Line: lineOf(c.places, key), Key: key, Text: fmt.Sprintf(format, args...)}
}
