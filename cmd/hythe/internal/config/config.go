// Package config reads the daemon's configuration, and says what it promises.
package config

// A Config is the configuration of a daemon. Every duration and size is written
// with its unit: "10s", "64MiB". What is left out has the default that is named.
type Config struct {
	Path string `toml:"-"` // file that it was read from; empty: the built-in one

	places map[string]place // of tables and keys in the file

	// Data is the directory of the spools: ./hythe-data.
	Data string `toml:"data"`

	// Drain is how long the end may take after SIGTERM: 5s.
	Drain Duration `toml:"drain"`

	Log    Log                `toml:"log"`
	Admin  Admin              `toml:"admin"`
	Input  map[string]*Input  `toml:"input"`
	Output map[string]*Output `toml:"output"`
	Route  map[string]*Route  `toml:"route"`
}

// Log says what is logged to standard error, and how.
type Log struct {
	Level  string `toml:"level"`  // debug, info (default), warn, error
	Format string `toml:"format"` // text (default), json
}

// Admin is the status page, the metrics and the health checks.
type Admin struct {
	// Listen is where: tcp://127.0.0.1:7070. "off": nowhere. Anything but
	// a loopback address or a Unix socket needs TokenFile or TLS.ClientCA.
	Listen string `toml:"listen"`

	TokenFile string `toml:"token_file"` // first line: the bearer token
	TLS       *TLS   `toml:"tls"`
}

// TLS is a side of TLS connections. Files are read again when they change.
type TLS struct {
	Cert string `toml:"cert"`
	Key  string `toml:"key"`

	// ClientCA, for inputs and admin: clients must have a certificate by one of
	// these authorities. CA, for outputs: the server must, instead of one by the
	// system's.
	ClientCA string `toml:"client_ca"`
	CA       string `toml:"ca"`

	ServerName string `toml:"server_name"` // outputs: expected name, if not the host
}

// An Input is one way in.
type Input struct {
	Name string `toml:"-"` // the table's

	// Protocol is frames (default), http, fcgi or stdin.
	Protocol string `toml:"protocol"`

	// Listen are endpoints as package listen has them.
	Listen []string `toml:"listen"`
	TLS    *TLS     `toml:"tls"` // frames and http

	// Framing, of frames and stdin: lines (default), nul, netstring, length8,
	// length16, length32, uvarint, json, raw, hythe.
	Framing string `toml:"framing"`

	// Ack, of frames, is what is sent back for each message once it is durable,
	// in the same framing: none (default), id, or message (the message itself).
	// Framing hythe acknowledges always, in its own way.
	Ack string `toml:"ack"`

	// Window is how many messages of a connection may wait to be durable: 1024.
	Window int `toml:"window"`

	MaxMessage Size `toml:"max_message"` // 1MiB
	MaxBody    Size `toml:"max_body"`    // of a POST: 16MiB

	// Path, of http and fcgi, is where messages are posted to: /in.
	Path string `toml:"path"`

	// TokenFile, of http and fcgi: the first line is the bearer token of those who may post.
	TokenFile string `toml:"token_file"`

	// KeyHeader, of http and fcgi, names the header that holds the messages'
	// ordering key: Hythe-Key.
	KeyHeader string `toml:"key_header"`

	// Repeats, of http and fcgi, is how many Idempotency-Keys are remembered: 16384.
	Repeats int `toml:"repeats"`

	MaxConns      int      `toml:"max_conns"`        // 0: seven eighths of the descriptors
	MaxConnsPerIP int      `toml:"max_conns_per_ip"` // 0: no limit
	Idle          Duration `toml:"idle"`             // silent connections are closed: 0: never for frames, 2m for http and fcgi
}

// An Output is one way out.
type Output struct {
	Name string `toml:"-"`

	// To is the destination, or several, of which the first is preferred and
	// the others stand in:
	//
	//	tcp://host:port   tls://host:port   unix:///path
	//	http://… https://…  (a POST with many messages)
	//	nats://host:port  tls+nats://…   (JetStream)
	//	file:///path/name.log   stdout:
	To Strings `toml:"to"`

	TLS *TLS `toml:"tls"`

	// Framing of tcp, tls, unix, file and stdout: see Input. Default: lines.
	// hythe waits for the other hythe's acknowledgements.
	Framing string `toml:"framing"`

	// Batch bounds what is handed over at once.
	BatchMessages int      `toml:"batch_messages"` // 1000
	BatchBytes    Size     `toml:"batch_bytes"`    // 1MiB
	Linger        Duration `toml:"linger"`         // how long a batch waits to become full: 0

	// Lanes is how many connections are used at once. Messages with the same
	// key keep their order, others need not. Default: 1.
	Lanes int `toml:"lanes"`

	Timeout  Duration `toml:"timeout"`   // of connecting, and of one answer: 30s
	Retry    Duration `toml:"retry"`     // first pause, doubled up to RetryMax: 2s
	RetryMax Duration `toml:"retry_max"` // 1m

	// HTTP.
	Format      string            `toml:"format"` // lines (default), ndjson (envelopes as JSON), single (one message per request)
	Headers     map[string]string `toml:"headers"`
	TokenFile   string            `toml:"token_file"` // Authorization: Bearer …
	ContentType string            `toml:"content_type"`

	// NATS.
	Subject     string `toml:"subject"` // {source}, {key} and {input} are replaced
	Stream      string `toml:"stream"`  // must exist, and have Subject
	Credentials string `toml:"credentials"`

	// Files.
	RotateBytes Size     `toml:"rotate_bytes"` // 64MiB; -1: never
	RotateEvery Duration `toml:"rotate_every"` // 0: never
	Keep        int      `toml:"keep"`         // rotated files kept: 0: all
	Mode        string   `toml:"mode"`         // "0640"
}

// A Route leads messages from inputs to outputs, through a spool of its own.
type Route struct {
	Name string `toml:"-"`

	From  []string `toml:"from"` // inputs; none: all of them
	Match Match    `toml:"match"`
	To    []string `toml:"to"` // outputs; each has all messages, at its own pace

	// Discard, instead of To: messages are taken and thrown away.
	Discard bool `toml:"discard"`

	Spool SpoolConfig `toml:"spool"`
}

// Match is what messages of a route have in common. All that is set must hold.
type Match struct {
	Prefix string            `toml:"prefix"` // of the body
	Header map[string]string `toml:"header"` // of the request; http and fcgi only
}

// SpoolConfig are the settings of a route's spool.
type SpoolConfig struct {
	MaxBytes Size     `toml:"max_bytes"` // 1GiB; -1: as large as the disk
	MaxAge   Duration `toml:"max_age"`   // 0: for ever. Older messages are lost, and counted
	Overflow string   `toml:"overflow"`  // refuse (default), drop-oldest
	Segment  Size     `toml:"segment"`   // 64MiB
	// DeadBytes bounds each dead-letter spool of the route: 256MiB. When one is
	// full its output waits.
	DeadBytes Size `toml:"dead_bytes"`
}
