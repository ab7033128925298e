// Package broker is the central broker of Zeek's ZeroMQ cluster backend: the XPUB/XSUB pair that joins all
// nodes of a cluster. It takes the place of libzmq's proxy, which Zeek runs as a thread of its manager, and
// speaks the same protocol (package zmtp).
//
//	nodes' XPUB sockets --> XSUB port: publishers --> routes by prefix --> queues --> XPUB port: subscribers --> nodes' XSUB sockets
//	                                       ^                                                  |
//	                                       +------- subscriptions, to every publisher <-------+
//
// What passes through it is never looked into beyond the first two frames of a message: its topic, and once per
// publisher the sender's id. Bytes are read into chunks of memory, and the same bytes are
// written out again, many messages in a system call. A run of messages that is large is shared by all its
// subscribers; a small one is copied into each subscriber's own chunk. Nothing is allocated for a message.
//
// Invariants:
//
//   - A message is delivered whole or not at all, and messages of a publisher in their order.
//   - Every queue has a bound, and a subscriber that takes nothing costs the others at most a fiftieth of
//     their time (unless the policy is block).
//   - Every subscription is forwarded to every publisher, also to the one of the subscriber itself and also when
//     it is known already: Zeek waits for that echo. A cancellation is forwarded when nobody is left.
//   - A node is gone when it is known to be dead or did not come back within the grace period, not when a connection breaks;
//     that is what nodes of a broker that restarts see as well.
//   - Nobody is ever told why it was refused: an ERROR would make a Zeek process exit. Its connection is closed.
//
// A broker is run so:
//
//	b, err := broker.New(broker.Config{Settings: broker.Settings{}, Log: log})
//	err = b.Serve(ctx, xpubListener, xsubListener)
//
// Everything else (Status, Apply, SetKeys, Dead, Ask) may be called at any time, from any goroutine.
package broker
