// Package status is what the daemon says of itself: to the status page, to hythe
// top, and to Prometheus. It is data only; the JSON form is GET /status.json.
package status

import "time"

// A Snapshot is the daemon at one moment.
type Snapshot struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Now     time.Time `json:"now"`
	PID     int       `json:"pid"`
	Data    string    `json:"data"` // directory of the spools
	Config  string    `json:"config"`

	// Draining is set from the first signal on. Problems are what an operator
	// should look at, in words; with none, the daemon is ready.
	Draining bool      `json:"draining"`
	Problems []Problem `json:"problems"`

	Inputs []Input  `json:"inputs"`
	Routes []Route  `json:"routes"`
	Conns  []Conn   `json:"conns"`  // the busiest, at most 200
	Closed []Closed `json:"closed"` // the last 50, newest first

	// History has one point a second for the last five minutes, oldest first.
	History []Point `json:"history"`
}

// A Problem is something that is wrong now.
type Problem struct {
	Part string    `json:"part"` // as "route all", "output store"
	What string    `json:"what"`
	Bad  bool      `json:"bad"` // the daemon cannot do its work: /readyz says 503
	From time.Time `json:"from"`
}

// An Input is one way in.
type Input struct {
	Name      string     `json:"name"`
	Protocol  string     `json:"protocol"` // frames, http, fcgi, stdin
	Framing   string     `json:"framing,omitempty"`
	Guarantee string     `json:"guarantee"` // in words
	Endpoints []Endpoint `json:"endpoints"`

	Conns    int               `json:"conns"` // open now
	Opened   uint64            `json:"opened"`
	Reasons  map[string]uint64 `json:"reasons"` // why connections ended
	Messages uint64            `json:"messages"`
	Bytes    uint64            `json:"bytes"`
	Refused  uint64            `json:"refused"`  // messages not taken: full, too large, no route
	Repeated uint64            `json:"repeated"` // known by their Idempotency-Key and not taken again
}

// An Endpoint is where an input listens.
type Endpoint struct {
	Address string `json:"address"` // as bound
	Try     string `json:"try"`     // a command that sends a message there
}

// A Route is one spool and what reads it.
type Route struct {
	Name  string `json:"name"`
	Match string `json:"match"` // in words
	Spool Spool  `json:"spool"`

	In         uint64     `json:"in"` // messages spooled since the start
	Deliveries []Delivery `json:"deliveries"`
}

// A Spool is a queue on disk.
type Spool struct {
	Dir      string        `json:"dir"`
	Records  uint64        `json:"records"` // the longest backlog of its readers
	Bytes    int64         `json:"bytes"`
	MaxBytes int64         `json:"max_bytes"`
	Oldest   time.Duration `json:"oldest"` // age of the oldest message not delivered everywhere; 0: there is none
	Commits  uint64        `json:"commits"`
	Failures uint64        `json:"failures"`
	Refused  uint64        `json:"refused"`
	Trouble  string        `json:"trouble,omitempty"`
}

// A Delivery is one output's way through a route's spool. At rest
// Start + Route.In = Delivered + Dead + Lost + Skipped + Backlog.
type Delivery struct {
	Output    string `json:"output"`
	To        string `json:"to"`
	Guarantee string `json:"guarantee"` // in words

	Start     uint64 `json:"start"`     // backlog when the daemon started
	Delivered uint64 `json:"delivered"` // confirmed since then
	Dead      uint64 `json:"dead"`      // put into the dead-letter spool since then
	Lost      uint64 `json:"lost"`      // damaged on disk, dropped or expired
	Skipped   uint64 `json:"skipped"`   // requeued for another output only
	Backlog   uint64 `json:"backlog"`   // not settled
	Again     uint64 `json:"again"`     // handed out more than once: possible duplicates

	DeadLetters uint64 `json:"dead_letters"` // in the dead-letter spool now
	Lanes       []Lane `json:"lanes"`
}

// A Lane is one ordered stream of a delivery, with a connection of its own.
type Lane struct {
	Outstanding int    `json:"outstanding"`     // handed to the output and not confirmed
	Error       string `json:"error,omitempty"` // the last one
	Link        *Link  `json:"link,omitempty"`
}

// A Link is the state of an outbound connection.
type Link struct {
	Phase    string    `json:"phase"`
	Endpoint string    `json:"endpoint"`
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until,omitzero"` // when the next attempt is due
	Attempt  int       `json:"attempt"`
	Cause    string    `json:"cause,omitempty"`
}

// A Conn is one open connection of an input.
type Conn struct {
	Input  string        `json:"input"`
	ID     uint64        `json:"id"`
	Remote string        `json:"remote"`
	Age    time.Duration `json:"age"`
	In     uint64        `json:"in"` // bytes
	Out    uint64        `json:"out"`
}

// A Closed is a connection that has ended.
type Closed struct {
	Input  string        `json:"input"`
	ID     uint64        `json:"id"`
	Remote string        `json:"remote"`
	At     time.Time     `json:"at"`
	Age    time.Duration `json:"age"`
	In     uint64        `json:"in"`
	Out    uint64        `json:"out"`
	Reason string        `json:"reason"`
	Detail string        `json:"detail,omitempty"`
}

// A Point is one second of history.
type Point struct {
	At      time.Time `json:"at"`
	In      float64   `json:"in"`  // messages per second
	Out     float64   `json:"out"` // confirmed, over all deliveries
	InBytes float64   `json:"in_bytes"`
	Backlog uint64    `json:"backlog"` // over all deliveries
	Conns   int       `json:"conns"`
}
