// Package rawpeer is the connecting side of ZMTP 3.0 and 3.1 with the mechanism NULL, for tests of the broker. It shares
// nothing with package zmtp, so that the two cannot be wrong in the same way, and it is plain where zmtp is fast: a
// frame, a command or any other bytes go out as they are asked for, also such as no socket of ZeroMQ's would send.
//
//	p, err := rawpeer.Shake(conn, rawpeer.XSUB(1))
//	err = p.Subscribe("zeek.cluster.")
//	item, err := p.Next() // a whole message, or a command
//
// Invariants: Next returns messages whole, and an error where a command lies between the frames of one; nothing is
// read that was not asked for; bytes that are expected and do not come end with the connection's deadline.
package rawpeer
