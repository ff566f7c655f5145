// Package spool is a queue on disk that keeps its word: what Append has returned
// for survives a crash of the process and of the machine, and what cannot be
// read back is reported and never made up.
//
//	s, err := spool.Open("queue", spool.Options{})
//	...
//	first, err := s.Append([]byte("hello")) // durable when it returns
//
//	r, err := s.Reader("worker", spool.ReaderOptions{})
//	...
//	rec, err := r.Next(ctx) // waits
//	err = work(rec.Payload)
//	r.Ack(rec.ID) // durable a little later; until then a crash has it delivered again
//
// Records have ids, which count up from 1. They lie in segments, files that are
// only added to, and are deleted as a whole when every reader has acknowledged
// all that is in them. Each [Reader] is a durable cursor with a name: several of
// them read the same records independently of each other, each at its own pace,
// and one that is not open still holds back the deletion of what it has not
// acknowledged, until [Spool.Forget]. Delivery is at least once.
//
// # Durability
//
// Append returns when the records, and the name of their file, have been synced.
// Those who append at the same time share a sync: while one is under way the
// next batch gathers. A reader is given only what is durable. When a write or a
// sync fails, nothing of that batch is taken for durable, since nobody knows what
// is; the segment is never written to again, the batch is tried once more in a
// new one, and only if that works Append succeeds. After an error a record may
// still turn up after a restart.
//
// # Damage
//
// Headers and payloads have checksums of their own. A damaged payload costs one
// record; behind a damaged header the next good one is looked for, and since a
// header's checksum covers its file and its place, neither an old block nor a
// payload that contains a spool is taken for one. Ids that are missing are
// reported exactly, as a [GapError], to every reader. [Open] works whatever has
// happened to the files, and reads at most one segment of them.
//
// # Concurrency
//
// All methods are safe for concurrent use, but that one Reader's Next and Read
// must not be called at the same time. One process has a directory open at a
// time; [Verify], [List] and [Export] only read, and work beside it.
//
// The format is described in docs/spool-format.md.
package spool
