package main

import "github.com/hythe-go/hythe/bench/internal/child"

// A load is what is done to servers, and what is measured meanwhile.
type load struct {
	topic
	peers []string      // servers that join if they are asked for
	extra bool          // measured only if it is asked for
	fresh bool          // each slice has a server process of its own
	few   bool          // a slice takes long: three rounds are enough
	serve child.Options // for all servers
	slice func(b *bench, s *server) (sample, error)
	notes func(r *results) []string
}

var (
	allServers = []string{bytesServer, stringsServer, talkServer, goroutineServer, standardServer}
	engines    = []string{gnetServer, netpollServer, nbioServer}

	lineColumns = []column{
		{head: "CPU µs/line", metric: "cpu", digits: 2},
		{head: "× standard", metric: "cpu", over: standardServer},
		{head: "lines/s", metric: "rate"},
		{head: "× standard", metric: "rate", over: standardServer},
		{head: "p50 µs", metric: "p50"},
		{head: "p99 µs", metric: "p99"},
	}
	pacedColumns = []column{
		{head: "CPU µs/line", metric: "cpu", digits: 2},
		{head: "× standard", metric: "cpu", over: standardServer},
		{head: "lines/s", metric: "rate"},
		{head: "p50 µs", metric: "p50"},
		{head: "p99 µs", metric: "p99"},
		{head: "max µs", metric: "max"},
	}
)

var (
	fcgiServers = []string{fcgiServer, goFcgiServer, libfcgiServer, phpServer}
	httpServers = []string{httpdServer, netHTTPServer, clockedServer, fasthttpServer}

	keptColumns = []column{
		{head: "connections", metric: "conns"},
		{head: "bytes/connection", metric: "rss"},
		{head: "after collections", metric: "collected"},
		{head: "× net/http", metric: "collected", over: netHTTPServer},
		{head: "idle CPU ms/s", metric: "idleCPU", digits: 1},
	}
)

// requestColumns are those of requests, compared with the server base.
func requestColumns(base string) []column {
	return []column{
		{head: "CPU µs/request", metric: "cpu", digits: 1},
		{head: "× " + base, metric: "cpu", over: base},
		{head: "requests/s", metric: "rate"},
		{head: "× " + base, metric: "rate", over: base},
		{head: "p50 µs", metric: "p50"},
		{head: "p99 µs", metric: "p99"},
	}
}

// loads are all there are, in the order of the tables.
var loads = []load{
	{
		topic: topic{
			name:    "echo64",
			title:   "Echo of 64-byte lines, 64 connections, one line on its way on each",
			servers: allServers,
			columns: lineColumns,
			goals:   []goal{{server: bytesServer, metric: "cpu", what: "CPU", over: gnetServer, atMost: 0.93}},
		},
		peers: engines,
		slice: echoSlice(job{Network: "tcp", Conns: 64}),
	},
	{
		topic: topic{
			name:    "echo1000",
			title:   "The same, 1,000 connections",
			servers: allServers,
			columns: lineColumns,
			goals:   []goal{{server: bytesServer, metric: "cpu", what: "CPU", over: gnetServer, atMost: 0.85}},
		},
		peers: engines,
		slice: echoSlice(job{Network: "tcp", Conns: 1000}),
	},
	{
		topic: topic{
			name:    "pipeline",
			title:   "64 connections, 32 lines on their way on each",
			servers: append(append([]string(nil), allServers...), copyServer),
			columns: []column{
				{head: "CPU µs/line", metric: "cpu", digits: 3},
				{head: "× standard", metric: "cpu", over: standardServer},
				{head: "× copy", metric: "cpu", over: copyServer},
				{head: "lines/s", metric: "rate"},
				{head: "× standard", metric: "rate", over: standardServer},
				{head: "× copy", metric: "rate", over: copyServer},
			},
			goals: []goal{
				{server: bytesServer, metric: "rate", what: "lines/s", over: copyServer, atLeast: 0.8},
				{server: stringsServer, metric: "rate", what: "lines/s", over: copyServer, atLeast: 0.6},
				{server: bytesServer, metric: "cpu", what: "CPU", over: gnetServer, atMost: 1},
			},
		},
		peers: engines,
		slice: echoSlice(job{Network: "tcp", Conns: 64, Depth: 32}),
	},
	{
		topic: topic{
			name:    "unix",
			title:   "Echo over a Unix socket, 64 connections, one line on its way on each",
			servers: allServers,
			columns: lineColumns,
			goals:   []goal{{server: bytesServer, metric: "cpu", what: "CPU", over: gnetServer, atMost: 0.93}},
		},
		peers: engines,
		slice: echoSlice(job{Network: "unix", Conns: 64}),
	},
	{
		topic: topic{
			name:    "paced",
			title:   "64 connections, a quiet 5,000 lines/s together",
			servers: allServers,
			columns: pacedColumns,
		},
		peers: engines,
		slice: echoSlice(job{Network: "tcp", Conns: 64, Rate: 5000}),
	},
	{
		topic: topic{
			name:    "churn",
			title:   "Connect, echo one line, close: 64 at a time",
			servers: allServers,
			columns: []column{
				{head: "CPU µs/connection", metric: "cpu", digits: 1},
				{head: "× standard", metric: "cpu", over: standardServer},
				{head: "connections/s", metric: "rate"},
				{head: "× standard", metric: "rate", over: standardServer},
				{head: "p99 µs", metric: "p99"},
			},
			goals: []goal{{server: bytesServer, metric: "cpu", what: "CPU", over: gnetServer, atMost: 0.93}},
		},
		peers: engines,
		slice: echoSlice(job{Mode: modeChurn, Network: "tcp", Conns: 64}),
	},
	{
		topic: topic{
			name:    "idle",
			title:   "Resident memory of an idle connection, after one echo",
			servers: []string{bytesServer, talkServer, goroutineServer, standardServer},
			columns: []column{
				{head: "connections", metric: "conns"},
				{head: "bytes/connection", metric: "rss"},
				{head: "after collections", metric: "collected"},
				{head: "× standard", metric: "rss", over: standardServer},
				{head: "idle CPU ms/s", metric: "idleCPU", digits: 1},
			},
			goals: []goal{
				{server: bytesServer, metric: "rss", what: "bytes per connection", atMost: 512},
				{server: talkServer, metric: "rss", what: "bytes per connection", atMost: 4608},
			},
		},
		peers: engines,
		notes: million,
		fresh: true,
		few:   true,
		slice: idleSlice,
	},
	{
		topic: topic{
			name:    "blocked",
			title:   "8 handlers asleep for 1 s at a time; latency of 64 other connections at 20,000 lines/s together",
			servers: allServers,
			columns: pacedColumns,
			goals: []goal{
				{server: bytesServer, metric: "p99", what: "µs p99", atMost: 500},
				{server: talkServer, metric: "p99", what: "µs p99", atMost: 500},
			},
		},
		peers: engines,
		few:   true,
		slice: blockedSlice,
	},
	{
		topic: topic{
			name:    "drain",
			title:   "Drain of idle connections and busy ones, whose handlers sleep for 1 s",
			servers: []string{bytesServer, talkServer, goroutineServer},
			columns: []column{
				{head: "idle", metric: "idle"},
				{head: "busy", metric: "busy"},
				{head: "ms until all idle ones are closed", metric: "closed", digits: 1},
				{head: "ms from last answer to Drain's return", metric: "return", digits: 2},
			},
			goals: []goal{
				{server: bytesServer, metric: "closed", what: "ms until all idle ones are closed", atMost: 50},
				{server: bytesServer, metric: "return", what: "ms from last answer to return", atMost: 1},
				{server: talkServer, metric: "closed", what: "ms until all idle ones are closed", atMost: 50},
				{server: talkServer, metric: "return", what: "ms from last answer to return", atMost: 1},
			},
		},
		fresh: true,
		few:   true,
		slice: drainSlice,
	},
	{
		topic: topic{
			name:    "fcgi",
			title:   "FastCGI over a Unix socket: a greeting, 16 connections that are kept",
			servers: fcgiServers,
			columns: requestColumns(goFcgiServer),
			goals:   []goal{{server: fcgiServer, metric: "cpu", what: "CPU µs/request", atMost: 20}},
		},
		extra: true,
		slice: echoSlice(job{Network: "unix", Conns: 16, Protocol: protocolFCGI}),
	},
	{
		topic: topic{
			name:    "fcgipost",
			title:   "The same, POST of 16 KiB that is sent back",
			servers: fcgiServers,
			columns: requestColumns(goFcgiServer),
		},
		extra: true,
		slice: echoSlice(job{Network: "unix", Conns: 16, Protocol: protocolFCGI, Body: 16 << 10}),
	},
	{
		topic: topic{
			name:    "http",
			title:   "HTTP/1.1: a greeting, 64 connections that are kept",
			servers: httpServers,
			columns: requestColumns(netHTTPServer),
			goals:   []goal{{server: httpdServer, metric: "cpu", what: "CPU", over: netHTTPServer, atMost: 1.05}},
		},
		extra: true,
		slice: echoSlice(job{Network: "tcp", Conns: 64, Protocol: protocolHTTP}),
	},
	{
		topic: topic{
			name:    "httpidle",
			title:   "Resident memory of an HTTP connection that is kept, after one request",
			servers: httpServers,
			columns: keptColumns,
			goals:   []goal{{server: httpdServer, metric: "collected", what: "bytes per connection, after collections", atMost: 2560}},
		},
		extra: true,
		fresh: true,
		few:   true,
		slice: keepSlice(job{Mode: modeKeep}),
	},
	{
		topic: topic{
			name:    "httpsidle",
			title:   "The same over TLS",
			servers: httpServers,
			columns: keptColumns,
			goals:   []goal{{server: httpdServer, metric: "collected", what: "bytes per connection, after collections", atMost: 12288}},
		},
		extra: true,
		fresh: true,
		few:   true,
		serve: child.Options{TLS: true},
		slice: keepSlice(job{Mode: modeKeep, TLS: true}),
	},
	{
		topic: topic{
			name:    "relay",
			title:   "256-byte lines over TCP into a relay and out again, 4 senders",
			servers: []string{relayServer, rsyslogSynced, rsyslogDisk, rsyslogInMemory},
			columns: []column{
				{head: "CPU µs/line", metric: "cpu", digits: 2},
				{head: "× rsyslog, memory", metric: "cpu", over: rsyslogInMemory},
				{head: "lines/s", metric: "rate"},
				{head: "× rsyslog, memory", metric: "rate", over: rsyslogInMemory},
				{head: "MB resident", metric: "mb"},
			},
			goals: []goal{
				{server: relayServer, metric: "rate", what: "lines/s", atLeast: 400_000},
				{server: relayServer, metric: "cpu", what: "CPU µs/line", atMost: 2},
			},
		},
		extra: true,
		fresh: true,
		few:   true,
		slice: relaySlice,
	},
}
