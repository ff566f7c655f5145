// Package crashfs is a filesystem in memory that remembers everything done to
// it, fails on request, and shows what a power failure could have left behind.
//
//	var disk crashfs.FS
//	run(&disk) // what is under test
//	for at := range disk.Len() + 1 {
//		for o := range crashfs.Outcome(8) {
//			check(disk.Crash(at, o)) // a disk of its own
//		}
//	}
//
// # What survives
//
// A file's bytes and its size are certain to survive only what [spool.File]'s
// Sync made durable, and a name, a rename or a removal only what SyncDir made
// durable. Of everything else a crash keeps any part: each block of 4 KiB on
// its own, in any of the states that it was in since the last sync, or torn
// between two of them; the size on its own, so that a file may end in zeros
// where its data did not arrive, or end early; each directory operation on its
// own. A removal may survive although what was done before it did not.
// Bytes that were durable and were not written again are never harmed.
//
// A Sync that fails leaves the blocks in doubt for good, as Linux does: they
// count as clean, a later Sync succeeds without writing them, and only writing
// them again helps.
//
// # Cost
//
// Blocks are never modified: the log, the live files and every crashed disk
// share them. A crash costs a copy of the pointers to the blocks, and crashing
// at ascending positions replays the log once.
//
// # Concurrency
//
// Everything is safe for concurrent use. The hook is called without locks and
// may block, which is how a slow disk is made.
package crashfs
