// Package identity says who is who in a fleet: the controller's certificate authority, the tokens that agents join with, the registry of
// agents, and the agent's own key and certificate. It knows nothing of what the connections carry.
//
// The controller's folder and the agent's:
//
//	CONTROLLER/             0700              AGENT/                  0700
//	  ca.pem                key, certificate    key.pem               never leaves the host
//	  agents.json           who may come in     ca.pem                the controller's certificate authority
//	  tokens.json           hashes of tokens    controller.json       its addresses, and the agent's name
//	  server.pem            key, certificate    cert.pem              its presence means: enrolled
//
// A life: the controller makes a token ([Authority.NewToken]). The agent makes a key and a request ([NewRequest]), connects with
// [JoinTLS], which trusts none but the controller that the token is from, and sends the token's secret and the request to
// [Authority.Enrol]. If the token named it, it has its certificate at once; else it is pending, and asks again until somebody has called
// [Authority.Approve]. [Accept] keeps what it got, and from then on [Identity.TLS] is how it connects. The controller asks
// [Authority.Check] about each connection. [Authority.Renew] and [Identity.Renewed] replace certificates while they are still good.
//
// Invariants:
//
//   - A certificate opens nothing by itself: the registry has to have its name as approved, with its key. So a revocation holds for every
//     connection from the moment that [Authority.Revoke] returns; closing those that are open is up to the caller.
//   - A token works once, for one name and one key. The same agent may repeat itself and is answered the same, because answers get lost.
//     Who was let in and by which token are in one file: no crash leaves one without the other.
//   - The controller never sees an agent's key, and keeps no token: only its hash.
//   - Files are replaced as a whole (temp, fsync, rename). What cannot be read, or does not hold together, is a [Damaged], and never leads
//     to new keys in its place.
//   - An agent verifies the controller by its certificate authority and by [ControllerName], never by an address: addresses may change.
//   - An agent's certificate is for clients alone, so no agent can pass for the controller.
//
// One process writes a folder: the methods of an [Authority] may be called from several goroutines, but two of them on one folder undo each
// other's changes. Who has a certificate authority already uses [Files] instead of all this.
//
//	a, err := identity.Open("/var/lib/zeekrec/identity", time.Now)       // controller
//	token, err := a.NewToken("sensor1", time.Hour, "root")
//
//	t, err := identity.ParseToken(token)                                  // agent
//	csr, err := identity.NewRequest(dir, "sensor1")
//	… dial with identity.JoinTLS(t.Fingerprint), send t.Secret(), "sensor1" and csr; the controller answers with a.Enrol(…)
//	err = identity.Accept(dir, enrolled, []string{"controller.example:4222"})
//	id, err := identity.Load(dir)
//	… dial with id.TLS()
package identity
