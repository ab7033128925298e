// Package cli is the command line: what a person types, and what comes back. One file holds one command
// or a few that belong together; cobra is used here and nowhere else.
//
// Manners, the same for all commands: results go to standard output, everything else to standard error, with
// the prefix "zeekrec: ", without capitals and full stops at the ends of errors, and with a hint where
// there is a way out. Exit codes: 0 done, 1 failed, 2 something to do (plan --detailed-exitcode), 3 stale
// plan, 4 held by a guard, 64 usage.
//
// [Run] is all of it, with everything that it takes from the process as an argument:
//
//	os.Exit(cli.Run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
package cli
