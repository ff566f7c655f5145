// Package link keeps outbound connections alive: it dials, times out, backs off,
// dials again, and tells everybody who wants to know.
//
//	l := &link.Link[net.Conn]{
//		Dial:      link.TCP,
//		Endpoints: []string{"db1.example.com:5432", "db2.example.com:5432"},
//	}
//	defer l.Close()
//	c, err := l.Get(ctx) // waits until there is a connection; err says why there is none
//
// A [Link] keeps anything that a function can make: a raw connection, a pool, a
// client of somebody else's library. [TCP], [TLS] and [Unix] are ready-made for
// Dial; [Sessions] and [Conversation] make it yield the same [hythe.Conn] as a
// server has, with the same codecs. [Client] sends messages over such a link and
// says of each what became of it. A [Group] shows all links of a process, and
// sees to it that they do not all dial at the same moment.
//
// # States
//
//	         Start, Get …         Dial and OnUp worked
//	Idle ────────────► Connecting ────────────► Up ─┐
//	                    ▲   │ ▲                 │ ▲ │ the preferred endpoint is well again
//	      the pause is  │   │ └─ next endpoint  │ └─┘
//	      over, TryNow  │   │                   │
//	                    │   │ every endpoint    │ reported, or Check or Watch says so
//	                    │   │ has failed        │
//	                    │   ▼                   │
//	                  Waiting ◄─────────────────┘
//	                  Failed    instead of Waiting if all that went wrong is Permanent;
//	                            it is left in the same ways, only later
//
//	Drain:  any of them ─► Draining (if it was Up) ─► Closed
//	Close:  any of them ─► Closed
//
// A link never gives up, and one that has Failed can be seen to have.
//
// # Concurrency
//
// Everything is safe for concurrent use. One goroutine for each link owns its
// state and makes every transition. Dial, OnUp, Check, Watch, Discard and the
// subscribers run on goroutines of their own, under no lock, so that each of
// them may block, panic, and call any method of the link, Close included. A
// subscriber that blocks for ever delays nobody but itself, and the end of Drain.
//
// # Time
//
// No decision is made by the wall clock: setting it changes nothing. Inside a
// bubble of testing/synctest all of it runs in fake time.
package link
