// Package bus joins a controller and the agents of other hosts over NATS: what local connects within one process, bus connects
// over a network.
//
// [Fleet] is the controller's end, the engine's Agents; [Serve] is an agent's. An agent publishes its report when it changes, and every
// [Beat] that it is as it was; the controller asks it by requests, each with the epoch of the controller that leads and the time that is
// left for it. Both ends need no more than core NATS and a connection.
//
// Invariants: a message that is lost, late or repeated does no harm; a request of a lower epoch than an agent ever saw is refused, also
// after a restart of the agent; no clock of another machine is compared with an own one: reports are stamped when they arrive, and
// deadlines travel as what is left.
//
//	f, err := bus.NewFleet(conn, epoch, log)      // controller
//	err = bus.Serve(ctx, conn, bus.Config{…})     // agent
package bus
