package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what this process has computed, in user mode and in the kernel.
func cpuTime() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("cannot read the CPU time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// memory is this process's resident set now and at its largest, in MiB.
func memory() (now, peak float64, err error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0, fmt.Errorf("cannot read the memory in use: %w", err)
	}
	for l := range strings.Lines(string(b)) {
		name, rest, _ := strings.Cut(l, ":")
		if name != "VmHWM" && name != "VmRSS" {
			continue
		}
		kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
		if err != nil {
			return 0, 0, fmt.Errorf("cannot read the memory in use: %w", err)
		}
		if name == "VmHWM" {
			peak = kib / 1024
		} else {
			now = kib / 1024
		}
	}
	return now, peak, nil
}
