// Command brokerbench compares zeekrec's broker with libzmq's proxy, as Zeek sets it up, on the same load in one run.
//
//	make bench-broker                                 # everything, about a quarter of an hour
//	make bench-broker ARGS=--quick                    # less than three minutes
//	make bench-broker ARGS="--only libzmq/null/2x3/"  # cases whose name matches
//	make bench-broker ARGS=--against-itself           # libzmq's proxy twice: what the noise of this machine is
//
// README.md says how to read what it prints. What takes part:
//
//	zmqproxy (C)    zmq_proxy_steerable with XPUB_NODROP, XPUB_VERBOSER, 2 I/O threads, CURVE and ZAP: the reference
//	zeekrec broker  what is compared with it
//	zmqpeer (C)     publishers and subscribers of libzmq's, with the options of Zeek's nodes
//	package native  publishers and subscribers that cost next to nothing, NULL only
//	boxbench (C)    the speed of libsodium's crypto_box, which libzmq uses
//
// Invariants:
//
//   - Nothing is sent before each publisher knows each subscriber; no wait for that is a time.
//   - Generators lose nothing: a publisher waits while its queue is full. What is delivered is counted by subscribers.
//   - The two brokers take turns, each round with processes of its own. CPU time and memory are those of the broker's
//     process as the kernel accounts for them.
//   - Every wait has a deadline, and no process outlives the benchmark.
package main
