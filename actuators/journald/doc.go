// Package journald sends what processes write to their output files to systemd's journal, line by line, with the name of the node as a field.
//
// A process writes to its file, as always: it never waits for the journal, nor for the agent. A [Follower] reads the file behind it and keeps on disk how far
// it has come, so an agent that comes back goes on where its predecessor stopped.
//
//	f, err := journald.Follow(journald.Config{Path: path, Source: journald.Source{Cluster: "dmz", Node: "worker-01", Role: "worker", Stream: "stdout"}})
//	if err != nil { … }
//	defer f.Close()
//	more, err := f.Step(ctx, sender, pid)   // from time to time; at once again where there is more
//
// # Invariants
//
//   - A line is sent once. Only a kill -9 between the sending of a line and the writing of 53 bytes, or a machine that lost power, repeats it; none is left out as
//     long as the file, or its rotated predecessor, has it.
//   - What was in a file before anybody followed it is old news, and not sent.
//   - Where the journal takes nothing, nothing is skipped: the follower stays where it is.
package journald
