// Package logs writes and rotates log files as Zeek's ASCII writer does on a node
// that logs locally: <path>.log with a header, a shadow file beside it, a rename
// into the rotation folder at every multiple of the interval since midnight, and
// what an earlier process left behind rotated first.
//
// The package has no clock: every function that needs the time takes it, and times
// in names are in that time's location. Lines reach the file when they are written.
// A [Set] is for one goroutine.
//
// What goes to a logger over the network, and what a logger gets from there, are the same lines as log writes: [Stream.ToLogWrite] and
// [FromLogWrite].
//
//	set := &logs.Set{Dir: ".", RotationDir: "../queue", Interval: time.Hour, Archiver: true}
//	if _, err := set.Leftovers(time.Now()); err != nil { … }
//	err := set.Write(time.Now(), logs.Conn, ts, "C1", …)
//	…
//	rotated, err := set.Rotate(time.Now())
package logs
