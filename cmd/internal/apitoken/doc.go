// Package apitoken keeps the tokens with which people on other machines ask a zeekrec (api.Server.ServeTLS): who has which role, since
// when, and until when.
//
// Invariants:
//
//   - No token is kept, only the SHA-256 of its secret, which has 160 random bits.
//   - The file is replaced as a whole (temp, fsync, rename), for its owner alone (0600). Making and revoking are on disk before they are
//     answered; when a token was last used is written now and then, and by Run when it ends.
//   - A file that cannot be understood refuses everybody, and every change: it is never replaced by an empty one.
//   - What ends a token, ends what is under way with it (api.Caller.Ended).
//
// One process writes the file: that which holds the state folder. The methods of a Store may be called from several goroutines.
//
//	s := apitoken.Open("/var/lib/zeekrec/api-tokens.json", &fingerprint, time.Now)
//	token, err := s.New("anna", api.RoleView, 90*24*time.Hour, "root")
//	caller, err := s.Check(token)
package apitoken
