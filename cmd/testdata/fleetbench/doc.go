// Command fleetbench has a thousand simulated agents of fifty nodes each and one controller, and measures what the controller needs for
// them: how long until all agents are heard, how long a change of one cluster takes to be carried out, and what it computes and holds
// while nothing happens.
//
// Two processes are measured apart. The controller is the real engine with the real journal, keys and bus.Fleet, and a NATS server
// within that asks for certificates of both sides; its clusters are texts that the real parser reads. The agents are real connections
// over TLS with bus.Serve, each with a host that starts and stops nothing, and says that it has, a moment later.
//
// The controller is measured twice: in its first life everything is started, in the second one, after kill -9, it finds everything
// running. CPU and memory are bounded for the time in which nothing happens; what is needed for a moment is shown beside.
package main
