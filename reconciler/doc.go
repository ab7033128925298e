// Package reconciler is the pure heart of zeekrec: what should run, less what does run, is a plan.
//
//	in := reconciler.Input{
//		Cluster: "dmz", From: "3f…", To: "9a…",
//		Want:      resources,                  // of the target revision, sorted by name
//		Instances: map[string]reconciler.Instance{"agent-a": {Resources: report.Resources}},
//		Known:     known,                      // what earlier revisions had: only that may be stopped
//		MaxUnavailable: desired.Quantity{N: 1},
//	}
//	plan := reconciler.Diff(in)                // what is to be done, why, in which order
//	now := reconciler.Next(&plan, progress)    // what of it may be sent at this moment
//
// Whoever acts (reconciler/engine) does no reckoning of its own: on every change of the world it
// computes the plan afresh and asks Next for what may be sent. Nothing has to be remembered of the
// plan before, and a lost, late or doubled order is only another state of the world.
//
// Guarantees, each asked of a simulated world by the tests of package sim:
//
//   - The same input gives the same bytes, and a plan carried out in an unchanging world is followed
//     by an empty one.
//   - A resource that no reason names has no action.
//   - Nothing is done to what an instance that is silent runs, and nothing is started while such an
//     instance may still run it.
//   - Only what a revision accepted earlier had is stopped; anything else that runs is orphaned, which
//     is said, and left alone.
//   - Through Next, restarts never make more nodes of one role unavailable than max_unavailable, and
//     nothing is sent of a plan that the prune guard holds.
//
// There is no clock, no file and no network here; nothing that is passed in is changed.
package reconciler
