// Package process starts processes that outlive their starter, finds them again, and stops them.
//
// # Starting, in two steps
//
// [Prepare] makes a process in a session of its own that runs the small launcher, [ExecNode], and not
// yet the program: it has its pid, holds the lock of the node's folder, and waits at a gate. The caller
// puts the pid on disk and then opens the gate with [Prepared.Go]: only now the program is executed, in
// the same process. If the caller dies before, the launcher reads the end of the gate's pipe and ends
// without having executed anything. So there is never a program that runs and is on no record, and never
// a moment at which it is unknown whether one runs.
//
//	p, err := process.Prepare(ctx, launcher, spec)
//	if err != nil { … }             // nothing runs
//	if err := record(p.Identity()); err != nil {
//		p.Abort()                   // nothing ran
//		return err
//	}
//	h, err := p.Go(ctx)             // runs
//
// # Finishing
//
// [CloseDoor] ends a process that collects what others send, as a Zeek logger does, without losing what is on its way. See there.
//
// # Invariants
//
//   - The lock of a node's folder is an open descriptor that the program inherits: it is held exactly as
//     long as the process lives, whoever else dies. A second process of the same node cannot be prepared.
//   - A signal reaches the process that was meant or none: it goes through a pidfd that was opened and then
//     compared with the identity (boot id, pid, start time), so a pid that was used again does no harm.
//   - Own children are reaped, and their exit status is known. Those of an earlier run of zeekrec belong to
//     init; their end is seen through the pidfd as well, their status is not, and [Exit] says so.
package process
