// Package ha has what several controllers share over a NATS cluster with JetStream: who of them leads, the journal with its objects, and
// the CURVE keys. A controller that was alone brings what it has with [Store.Import].
//
//	<prefix>-lease     bucket  who leads; an entry that nobody renews goes away
//	<prefix>-epochs    bucket  the number of the newest term, for good
//	<prefix>-journal   stream  a message for every append, marks of terms, snapshots
//	<prefix>-objects   stream  accepted cluster files by the SHA-256 of their content, in pieces
//	<prefix>-keys      bucket  the CURVE keys of each cluster
//
// Invariants:
//
//   - Terms do not overlap. A holder stops by its own clock a margin before the lease may be another's; a candidate takes a lease only
//     after it has seen no sign of life for as long, by its own clock. No clock of another machine is asked, and the buckets' own time to
//     live, which depends on those of the servers, only clears away.
//   - The epoch of every term is higher than those of all terms before.
//   - A record that was acknowledged is there once, in its place. What was appended together is there as a whole, or not at all.
//   - Who opened the journal later has shut it for all before: their appends fail with *[Deposed] and leave nothing.
//   - Where it cannot be found out whether an append is there, the journal is *[Broken] from then on: its controller ends its term, and who opens
//     the journal next sees what is there.
//   - [Journal.Collect] removes nothing that another controller put after this one opened the journal.
//
// An acknowledgement means that a majority of the replicas has the message; that it survives the loss of power of all of them at once
// is for the servers to see to (sync_interval: always).
//
// Whoever may read the bucket of keys, or publish to $KV.<prefix>-*.> and <prefix>.>, is as good as a controller: agents and others must
// be denied both, and $JS.API.>. The servers keep the keys in clear, unless they are told to encrypt what they store.
//
//	s, err := ha.New(conn, ha.Config{Replicas: 3})
//	lease, err := s.Lease(ctx, ha.LeaseConfig{Name: "controller-1"})
//	term, err := lease.Campaign(ctx)              // waits until this controller leads
//	journal, state, err := s.Open(ctx, term.Epoch(), "controller-1")
//	…                                              // until <-term.Done()
//	err = term.Resign(ctx)
package ha
