// Command bench measures hythe side by side with the plain standard-library
// loop that one would write instead, and with other libraries and servers, on
// the machine at hand:
//
//	go run ./bench                  # about five minutes
//	go run ./bench -rounds 12 -pin  # what a claim should rest on
//	go run ./bench -only echo64,fcgi -peers -md
//	go run ./bench -abuse           # what bad clients do
//	go run ./bench -all -idle max -md > docs/numbers.md
//
// README.md says what is measured, how to read it, and what is not measured.
//
// # Processes
//
// The command runs itself again: as one process for each server ("serve"), as a
// load generator ("load") and as an attacker ("attack"), with which it talks in
// lines of JSON over their standard input and output. A server's CPU time is what
// its own getrusage says before and after a slice, when no line is on its way. The
// generator is one thread on epoll, so that it disturbs the servers little; it
// compares every byte that comes back with what it sent.
//
// Servers on other libraries are in the command peers, which this one builds.
// Those that are programs of their own have a process of ours in front, which
// starts them and reads what they use in /proc.
package main
