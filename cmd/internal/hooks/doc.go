// Package hooks tells people and programs what the journal has news of: it runs commands and posts JSON.
//
// Each hook has a queue and a goroutine of its own, so that one which hangs delays no other. What waits is in hooks.json in the state folder,
// with the ledger of what was told: a restart forgets nothing and repeats nothing. Only where zeekrec is killed while it delivers, and so nobody
// knows whether that came through, is the same piece of news, with the same id, delivered once more.
//
// Invariants: nothing here holds the engine up, nor is it told what became of a delivery; every attempt has a deadline, every piece of news
// a last attempt, every queue a bound; URLs and secrets of hooks are in no log.
package hooks
