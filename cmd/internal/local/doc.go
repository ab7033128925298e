// Package local puts controller and agent together in one process, for one machine: a source, the
// engine, the agent and the journal, connected without a network.
//
// [Open] takes the state folder, which only one process can hold, and checks all that can be wrong before
// anything runs; [Machine.Run] runs the parts and ends them in order. What the machine's agent can tell
// beyond its reports (outputs, usage, bundles for bug reports) is in [Nodes]; [Offline] is what the state
// folder alone tells while nobody holds it.
//
// Invariants: nothing is started or stopped by Open; when Run has returned, no part of it runs any more,
// while the nodes go on.
//
//	m, err := local.Open(local.Config{StateDir: dir, Source: "/etc/zeek/clusters", …})
//	if err != nil { … }
//	defer m.Close()
//	err = m.Run(ctx)
package local
