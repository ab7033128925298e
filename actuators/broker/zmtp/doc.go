// Package zmtp speaks ZMTP 3.0 and 3.1, the protocol below ZeroMQ's sockets (rfc.zeromq.org, 23 and 37), with the mechanisms
// NULL and CURVE (RFC 25 and 26), as far as publishing and subscribing takes. It knows streams and bytes, and no sockets of
// ZeroMQ's kind: queues, reconnecting and routing are its users'.
//
// A connection begins with a handshake. Both sides send a greeting of 64 bytes; the listening side, which
// this package is for, keeps its mechanism back until it has read the other's, and answers with the same, so that no
// libzmq ever sees a mismatch:
//
//	signature (10) | version 3.x (2) | mechanism (20) | as-server (1) | filler (31)
//
// With NULL each side then sends a READY command with its socket type. With CURVE:
//
//	client                                              server
//	HELLO      C', Box[64 zeros](C'->S)          --->
//	                                             <---   WELCOME    Box[S', cookie](S->C')
//	INITIATE   cookie, Box[C, vouch, metadata](C'->S') --->
//	                                             <---   READY      Box[metadata](S'->C')
//
// After that there are frames. A message is one or more frames, all but the last with FlagMore; a command is
// one frame with FlagCommand. With CURVE each frame travels in the box of a MESSAGE, in a frame of its own.
//
// The listening side:
//
//	peer, err := zmtp.ServerHandshake(conn, &zmtp.ServerConfig{SocketType: "XPUB", Accept: []string{"XSUB", "SUB"}, AllowNull: yes})
//
// Invariants:
//
//   - Nothing that a peer sends leads to a panic, or to more memory than it has sent bytes, times a small factor.
//   - Who is refused is told nothing: errors are returned, and the caller closes the connection. An ERROR command would make Zeek
//     exit (facts/zeromq.md §4.3).
//   - Secret keys are in no text that a type of this package makes of itself, and are compared in constant time.
//   - Sealing and opening a frame, and reading a frame's header, allocate nothing.
package zmtp
