package config

import (
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A place is where a table or a key is in a file.
type place struct {
	line   int
	number bool // its value is a whole number
}

// placesOf finds the tables and keys of a file, each by its dotted name. Of a file
// that is not TOML it finds those before the mistake.
func placesOf(data []byte) map[string]place {
	places := make(map[string]place)
	var p unstable.Parser
	p.Reset(data)
	var table string
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind == unstable.Table || e.Kind == unstable.ArrayTable {
			table = addKey(places, &p, "", e)
		} else if e.Kind == unstable.KeyValue {
			addValue(places, &p, table, e)
		}
	}
	return places
}

// addKey adds the name of a table or a key, with the tables that are in it, and
// returns it whole.
func addKey(places map[string]place, p *unstable.Parser, table string, e *unstable.Node) string {
	name := table
	for it := e.Key(); it.Next(); {
		if part := string(it.Node().Data); name == "" {
			name = part
		} else {
			name += "." + part
		}
		if _, known := places[name]; !known || it.IsLast() && e.Kind != unstable.KeyValue {
			places[name] = place{line: p.Shape(it.Node().Raw).Start.Line}
		}
	}
	return name
}

// addValue adds a key with what is in its value.
func addValue(places map[string]place, p *unstable.Parser, table string, e *unstable.Node) {
	name := addKey(places, p, table, e)
	switch v := e.Value(); v.Kind {
	case unstable.Integer, unstable.Float:
		places[name] = place{line: places[name].line, number: true}
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			addValue(places, p, name, it.Node())
		}
	}
}

// lineOf returns the line of a key or, if it is not there, of the nearest table
// around it; 0 if there is none.
func lineOf(places map[string]place, name string) int {
	for name != "" {
		if at, ok := places[name]; ok {
			return at.line
		}
		name = name[:max(0, strings.LastIndexByte(name, '.'))]
	}
	return 0
}
