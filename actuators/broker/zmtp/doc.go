// Package zmtp speaks ZMTP 3.0 and 3.1, the protocol below ZeroMQ's sockets (rfc.zeromq.org, 23 and 37), with the mechanisms
// NULL and CURVE (RFC 25 and 26; keys as text: RFC 32), as far as publishing and subscribing takes. It knows streams
// and bytes, and no sockets of ZeroMQ's kind: queues, reconnecting and routing are its users'.
//
// A connection begins with the greetings, of 64 bytes each:
//
//	signature (10) | version 3.x (2) | mechanism (20) | as-server (1) | filler (31)
//
// libzmq sends its own in three steps, and so does this package. The listening side, which this package is for, keeps its
// mechanism back until it has read the other's, and answers with the same, so that no libzmq ever sees a mismatch:
//
//	client                                              server
//	signature                                    --->
//	                                             <---   signature, major version
//	versions, mechanism, as-server               --->
//	                                             <---   minor version, mechanism, as-server
//
// With NULL each side then tells its socket type, the client first. Whoever does not fit has not been answered:
//
//	READY      metadata                          --->
//	                                             <---   READY      metadata
//
// With CURVE the client has a long-term key pair (C, c) and the server one or more (S, s), and each makes a temporary
// one for this connection (C', c' and S', s'). Box[x](A->B) is sealed with A's secret key for B's public one:
//
//	HELLO      C', Box[64 zeros](C'->S)          --->                  which of its keys it is for
//	                                             <---   WELCOME    Box[S', cookie](S->C')
//	INITIATE   cookie, Box[C, vouch, metadata](C'->S') --->            vouch: Box[C', S](C->S')
//	                                             <---   READY      Box[metadata](S'->C')
//
// After that there are frames: flags, a length of one byte or eight, and a body. A message is one or more frames, all but
// the last with [FlagMore]; a command (PING, PONG, SUBSCRIBE, CANCEL) is one frame with [FlagCommand]. With CURVE each
// frame, of a command too, travels in the box of a MESSAGE, in a frame of its own without flags:
//
//	flags, length | "\x07MESSAGE" | counter (8) | Box[flags, body](C'->S' or S'->C')
//
// A subscription comes in two forms, of which libzmq uses both, whatever the version: as a message whose first byte is 1 or 0
// while a connection lasts, and as SUBSCRIBE or CANCEL for what it is subscribed to when it reconnects.
//
// The listening side:
//
//	peer, err := zmtp.ServerHandshake(conn, &zmtp.ServerConfig{SocketType: "XPUB", Accept: []string{"XSUB", "SUB"}, AllowNull: yes})
//
// After it, [ParseHeader], [Opener] and [Sealer] are for who moves many frames; [Conn] is for everybody else.
//
// Invariants:
//
//   - Nothing that a peer sends leads to a panic, or to more memory than it has sent bytes, times a small factor.
//   - No byte is read that does not belong to the handshake: what follows is still in the stream.
//   - Who is refused is told nothing: errors are returned, and the caller closes the connection. An ERROR command would make Zeek
//     exit (facts/zeromq.md §4.3).
//   - Secret keys are in no text that a type of this package makes of itself, and keys are compared in constant time.
//   - Counters of sealed frames grow, from HELLO on, in each direction: a frame is opened once or never.
//   - Sealing and opening a frame, and reading a frame's header, allocate nothing.
package zmtp
