// Package observed holds what agents report from the hosts, and how old that is.
//
// Invariants: a report is a value that nobody changes once it was handed over; an old report is never
// shown as if it were news (Fleet turns it into UNKNOWN after Stale).
package observed
