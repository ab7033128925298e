// Package keys keeps the CURVE keys of clusters: the two key pairs that encrypt the traffic of Zeek's ZeroMQ backend,
// and that let nobody in who has not got them.
//
// A generation ([Pair]) has the key pair of the servers (the broker, and the loggers' own sockets) and that of
// the clients, which all nodes share; Zeek knows no others. They are only ever replaced together: a node with the
// wrong server key is ignored and tries again, but one whose client key alone is refused ends itself. A cluster has one
// generation, and during a rotation two: the one to use, and the one before, which is still accepted.
//
//	STATE/keys/          0700
//	  dmz.json           0600: a list of generations, the one to use first; keys in Z85, Zeek's own notation
//
// Elsewhere only the id of a generation is known: in what is desired, in plans, reports, the journal and the status. It is
// computed from the two public keys, so it says nothing about the secret ones.
//
// Invariants:
//
//   - A file is replaced as a whole (temp, fsync, rename): after a crash at any moment there are the
//     generations from before, or those from after.
//   - What cannot be read, or does not hold together, is an error. It never leads to new keys in its place.
//   - Secret keys are of a type that shows itself in no output and no log; [Secret.Reveal] is the only way to them.
//
// Methods may be called from several goroutines. Those that change something need the state folder's lock, which the
// running zeekrec holds; those that read do not.
//
//	s := keys.Open("/var/lib/zeekrec")
//	id, err := s.Ensure("dmz")
//	pair, err := s.Get("dmz", id)
//	env := "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_SERVER_SECRETKEY=" + pair.ServerSecret.Reveal()
package keys
