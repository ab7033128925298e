// Package fleet makes a controller and the agents of other hosts out of their parts: who may be one (package identity), the NATS server
// in the controller (hub), or one that there is already, and what is said over it (bus).
//
// [Controller.Open] is what local.Config.Fleet wants. [Join] enrols a host, [Agent] serves it from then on.
//
// Invariants: nothing is open without TLS and a certificate, but for the request of somebody with a token; an epoch is used by one
// controller's life alone; an agent that was revoked is disconnected at once.
package fleet
