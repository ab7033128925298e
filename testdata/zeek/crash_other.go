//go:build !linux

package main

import "os"

func dieLikeC() {}

// crash ends with the status that a shell shows for SIGSEGV.
func crash() { os.Exit(139) }
