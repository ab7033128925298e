// Package script reads Zeek scripts as far as the stand-in needs them: it finds
// them along ZEEKPATH by Zeek's rules, follows @load, evaluates @if, notices the
// syntax errors that people make (brackets, a missing semicolon, an open string)
// and keeps what redef gives to a name.
//
// It is no interpreter: event handlers and functions are checked for balanced
// brackets and otherwise skipped. Zeek's own scripts are not there; [Library] knows
// the names of those that Zeek 8.2 brings (builtin.txt) and takes each for an empty
// file below [Prefix].
//
// Invariants: reading has no side effects; a file is read once; an error carries
// the text that Zeek 8.2.2 prints for the same mistake.
//
//	p, problem := script.Load(script.Options{
//		Library: script.NewLibrary(os.Getenv("ZEEKPATH")),
//		Node:    "worker-1",
//		Names:   []string{"frameworks/cluster/backend/zeromq", "local"},
//	})
//	if problem != nil {
//		fmt.Fprintln(os.Stderr, problem)
//	}
//	interval := p.Interval("Log::default_rotation_interval", time.Hour)
package script
