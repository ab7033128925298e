// Package archive takes rotated logs out of a queue, compresses them, and files them by day. DESIGN.md says how and why.
//
//	a, err := archive.New(archive.Config{Queue: "queue", Settings: archive.Settings{Root: "/var/log/zeek/dmz"}})
//	res, err := a.Pass(ctx)        // once: all that waits
//	err = a.Run(ctx)               // until ctx ends, and a last pass then
//	a.Apply(settings)              // at any time
//	st := a.Status()
//
// # Invariants
//
//   - A log is unlinked from the queue only when its content is in the archive, on disk, and was read again.
//   - Nothing in the archive is ever overwritten. The same content there already: done. Another: a new name.
//   - Whatever moment a process dies or power fails at, each content is in the queue or in the archive, and the next
//     pass leaves no temporary file behind.
//   - Nothing is deleted but what this package archived, says its list in the day's folder, and bears the name of an
//     archived log; and that only when it is older than Settings.Keep.
//   - What cannot be archived is said once, and keeps nothing else waiting.
package archive
