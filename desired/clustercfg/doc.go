// Package clustercfg reads one cluster.cfg as zeek-client reads it, and says everything that is wrong
// with it, with the line and the way out.
//
//	bytes --scan--> sections, keys, lines --ini.v1--> values --interpolate--> texts --read--> desired.Cluster
//
// zeek-client reads with Python's configparser and shlex. gopkg.in/ini.v1 is the reader of this package,
// but its grammar is another one, whatever its options: it knows no lines, merges what is stated twice,
// keeps the indentation of continued values, ends a value at a back-quote or a backslash, numbers keys
// called "-", and takes a part of what begins with quotes. So a pre-pass (scan.go) goes over the physical
// lines with the rules of configparser, notes the line of every section and key, and writes a normalised
// text in which nothing is open to interpretation: one line for each key, the key percent-encoded, the value
// between back-quotes with its line ends as NUL (which no file that got so far can hold). That is what ini.v1
// reads (load.go). Where the two disagree about a file, configparser has therefore always won.
//
// The sections [zeekrec] and [zeekrec.…] never get there: they have a grammar of their own (own.go), in
// which the first "=" separates, keys keep their case, " #" begins a comment, and nothing is inherited or
// interpolated.
//
// Invariants:
//
//   - Pure: bytes in, values out. No clock, no files, no network; the host's name is an argument.
//   - Parse never panics, and takes time linear in the file: size, keys, and the work of interpolation
//     have bounds, and so has the number of diagnostics.
//   - All that is wrong is reported at once. After an error reading goes on wherever that is possible
//     without errors that only follow from the first.
//   - A message that zeek-client, or the controller of Zeek's management framework, has for something is
//     used to the letter; how to mend it is in the hint.
//   - Sections, keys and values without any error mean exactly what they mean to zeek-client. There are
//     three extensions: an instance may have a host name, a node may have args, and a file may have
//     [zeekrec…] sections. Refused, although zeek-client takes them, are control characters and
//     whatever could not run (no manager, a worker without an interface, names that are no folder names…).
//
// Use:
//
//	c, ds := clustercfg.Parse(file, "agent-sensor1")
//	if desired.HasErrors(ds) {
//		… // show ds; c is what was understood nevertheless, or nil
//	}
package clustercfg
