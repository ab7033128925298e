// Package source says what a folder of NAME.cfg files holds, and never half of it.
//
// [Read] takes one look and is enough for commands that answer and end. [Folder] follows a folder and
// yields an [Update] whenever its settled content, or the reason why it cannot be read, has changed.
//
// How a look becomes a snapshot:
//
//	events --hint--> when to look --scan--> sightings --settler--> Update
//
// Events of the file system only say when to look (they get lost, overflow, and do not exist on network
// file systems). What was seen in a scan is the only truth. The settler is pure: it takes scans and times
// and decides what has settled, so that every rule below is tested without a file or a clock.
//
// Invariants:
//
//   - Nothing that could not be read looks like something that was removed. A folder that is missing,
//     unreadable, not a folder, replaced by an empty file system, or silent is an Update with Err. A file
//     that is there and cannot be read is a ClusterFile with Err. Only a file that is gone from a folder
//     that can be read is absent from the snapshot.
//   - No half of a file. The content of a cluster (NAME.cfg and everything in NAME/) is taken when two
//     scans, at least Options.Quiet apart, saw the same bytes, sizes and times, and, where the system can
//     say so, nobody has any of its files open for writing.
//   - A cluster that does not settle holds up the others for Options.Hold at most; from then on they
//     travel with the last settled content of that one, and Update.Pending says so.
//   - Reading never leaves the folder (os.Root): symlinks are followed while they stay inside, which is
//     how Kubernetes lays out its volumes.
//   - Everything has a bound: files, bytes, folders, watches, and the time that a scan may take.
//
// Use:
//
//	f := source.NewFolder("/etc/zeek/clusters", source.Options{Log: log})
//	go f.Run(ctx)
//	for {
//		select {
//		case u := <-f.Updates():
//			if u.Err != nil {
//				… // keep what runs, show u.Err
//			}
//			… // u.Snapshot
//		case <-ctx.Done():
//			return
//		}
//	}
package source
