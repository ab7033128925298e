// Package figures has the arithmetic of the benchmark: histograms of latencies as zmqpeer prints them, and what
// is said of a few rounds of the same measurement.
//
//	before, _ := figures.ParseHistogram("12:3 64:1")
//	after, _ := figures.ParseHistogram("12:5 64:1 70:9")
//	p99 := after.Since(before).Quantile(0.99, 10)
//
// Everything here is a value; nothing keeps state.
package figures
