// Package news decides which records of the journal people are told of. It is a pure fold over records, like engine.State: the same records
// make the same news, so what was told already is known after a restart, too.
//
// Invariants: a piece of news bears the number of its record, and no other has it; what was told last of a cluster is not told again until
// something else was; of what happens again and again on a host, one in an hour is told, with a count of the others.
//
//	var l news.Ledger
//	for each record of the journal {
//		if n, ok := l.Take(&record); ok {
//			tell(n)
//		}
//	}
package news
