// Package bus joins a controller and the agents of other hosts over NATS: what local connects within one process, bus connects
// over a network.
//
// [Fleet] is the controller's end, the engine's Agents; [Serve] is an agent's. An agent publishes its report when it changes, and every
// [Beat] that it is as it was; the controller asks it by requests, each with the epoch of the controller that leads and the time that is
// left for it. Both ends need no more than core NATS and a connection. Who may use which subjects is in one place: [AgentSubjects],
// [EnrolSubjects] and [ControllerSubjects].
//
// [Nodes] is what a person asks of nodes, wherever they are. What may be long (outputs, bundles) is a stream: the agent sends a
// piece as a request, and the next one when the answer says that the reader has taken it. So a slow reader slows the agent down, and one
// that has gone ends it; an agent with nothing to send says every few seconds that it is there.
//
// Invariants: a message that is lost, late or repeated does no harm; a request of a lower epoch than an agent ever saw is refused, also
// after a restart of the agent; no clock of another machine is compared with an own one: reports are stamped when they arrive, with
// all times in them, and deadlines travel as what is left; nobody waits for an answer that was lost with a connection, whose agent is not
// heard of any more, or says that it does not work on the call; an agent can neither hear nor say what is another's; of a stream no more than one piece is on its
// way, and it either comes whole or ends with an error.
//
//	f, err := bus.NewFleet(conn, epoch, log)      // controller
//	nodes := bus.NewNodes(f, engine)
//	err = bus.Serve(ctx, conn, bus.Config{…})     // agent
package bus
