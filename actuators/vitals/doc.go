// Package vitals reads how a Zeek process fares from its own telemetry: packets, events that were lost, errors of its
// Reporter; and reckons what has come of these lately.
//
//	c, err := vitals.Scrape(ctx, "127.0.0.1:9003")
//	if c.Dropped.Known {
//		dropped.Add(now, c.Dropped.N) // a vitals.Window
//	}
//	n, over := dropped.Sum(now) // in the last minute
//
// It judges nothing: what is much, and what follows from it, is the agent's to say.
//
// Invariants: a counter that a process does not have is unknown, which is something else than 0. What is read is bounded in
// size and time, whatever answers at the address. A process that began anew is never taken for one that has gone back.
package vitals
