//go:build !linux

package source

// slowPause between the chunks of a slow writer: less than Quiet, which is all that guards here.
var slowPause = quick.Quiet / 4
