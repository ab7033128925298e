// Package desired is the model of what should run, and the pure way from configuration to it:
//
//	bytes --clustercfg--> Cluster --Compile--> Resource --launch--> command line, environment, files
//
// Everything here takes values and returns values: no clock, no files, no network. What has to be
// remembered from one compilation to the next (ports, fan-out ids) is the Assignment, which goes in
// and comes out.
//
// The heart is the table of minimal restarts (parts.go): for each role, which inputs it uses of its
// cluster, and whether a change of one is a restart, harmless while the running process covers it,
// or made in place.
package desired
