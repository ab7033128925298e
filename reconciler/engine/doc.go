// Package engine is the loop that acts: it takes what a source says and what agents report, keeps the
// journal, and rolls plans out, wave by wave.
//
// It is level-triggered. Every change of anything (a snapshot, a report, a command, a deadline) leads to
// one step, which computes each cluster's plan anew from the target revision and the newest reports,
// and sends the orders that may be sent now. Nothing is done from memory: a lost or repeated message, a
// crash of zeekrec, a second change in the middle of a rollout all lead to the next step and no further.
//
//	observation ─► intake ─► journal: accepted, rejected, held by the guard
//	                             │
//	                          targets (State.Target)
//	                             │
//	reports ─────────────────► Diff ─► preflight ─► Next ─► orders
//	                             ▲                            │
//	                             └────────── health gate ◄────┘
//
// One goroutine (Run) owns all of it. What takes time (orders, preflights) runs beside it and comes back
// as a function to be called in the loop; commands from outside are functions of the same kind.
//
// CURVE keys are rotated the same way: which of them count is in the journal, by id, and is one more input of
// compiling; keys.go tells the steps.
//
// Invariants: what is accepted is journaled before it is acted on (5); something is stopped only because
// an accepted revision without it, or a person's hold, is in the journal (2); the next wave waits until
// the last one is healthy, and a rollout that makes things worse stops and goes back (6).
package engine
