// Package sim is a simulated world for the reconciler: agents that run processes, a network that loses,
// delays and doubles what it carries, and a small controller that does nothing but ask reconciler.Diff and
// reconciler.Next, and send what they say. Its clock is a number, and all its chance comes from one
// seed, so that a world that went wrong goes wrong again in the same way.
//
//	w := sim.New(sim.Config{Seed: 1, Faults: sim.SomeFaults, MaxUnavailable: 1})
//	w.Accept(sim.RandomCluster(rng, "dmz", 3, 20))
//	for range 200 {
//		w.Step()          // one second
//	}
//	w.Broken              // what an invariant says was violated
//
// The agents here keep to the rules for real ones (decisions 3 to 6), and show which of those the
// invariants lean on: orders are conditional on what the agent was told, expire, and are obeyed
// once; what was told is written before it is acted on; only the agent restarts what crashed.
package sim
