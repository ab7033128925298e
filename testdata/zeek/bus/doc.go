// Package bus joins Zeek's ZeroMQ cluster as a node does: sockets that connect and come back, the topics of a node,
// the two hellos, and log writes from the other nodes to the loggers. Like Zeek it keeps what belongs to the sockets
// apart from what belongs to the scripts:
//
//	broker XPUB --> XSUB --+                              +--> PUSH --> loggers
//	                       +--> inputs --> the node's loop +
//	broker XSUB <--> XPUB -+      Members: who is there   +--> XPUB --> broker
//	others' PUSH --> PULL -+
//
// A [Bus] is the sockets, with goroutines of their own, as libzmq has threads: connections stay up while the node's loop is
// busy. [Members] is what Zeek's scripts keep in mind; it is pure, and its clock is its caller's.
//
// Invariants, all of them libzmq's and Zeek's own ways:
//
//   - A socket that connects tries for ever, every 100 to 200 ms. Subscriptions are sent again with each connection; those of
//     others outlast theirs. So nobody is down because the broker was.
//   - What is published goes to the queue only when somebody wants it, and is dropped when that is full: the newest first. What a
//     queue holds when a connection breaks is sent by the next one.
//   - Every queue has a bound. What the node does not take keeps subscriptions and log writes at their senders, and drops events.
//   - A handshake that fails because of keys or the protocol is an input with Fatal, and the node's end. One that only broke off is a
//     warning, and tried again.
//   - As the server of logs it refuses as libzmq does: with words that end a Zeek.
//
// A node:
//
//	b := bus.Open(ctx, bus.Config{ID: id, Subscribe: "tcp://127.0.0.1:5555", Publish: "tcp://127.0.0.1:5556", Topics: topics})
//	defer b.Close()
//	for range b.Ready() {
//		for _, in := range b.Take() { … }
//	}
package bus
