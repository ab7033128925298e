//go:build !linux

package main

import "os"

func dieLikeC() {}

// crash ends with the status that a shell shows for SIGSEGV.
func crash() { os.Exit(139) }

// abort ends with the status that a shell shows for SIGABRT.
func abort() { os.Exit(134) }
