//go:build linux

// Command stage makes the namespaces and mounts of a machine for package systemdtest.
//
// As "stage machine FOLDER SHARE…" it makes the files of a machine in its own mount namespace, boots it for each
// line "boot" of its input, writes "up PID" and "off" to its output, and ends with its input, the machine with it.
// As "stage init …", which it calls itself, it is the first process of the machine's namespaces, and becomes systemd.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 3 {
		fail(fmt.Errorf("it is started by package systemdtest"))
	}
	var err error
	switch os.Args[1] {
	case "machine":
		err = machine(os.Args[2], os.Args[3:])
	case "init":
		err = becomeInit(os.Args[2], os.Args[3:])
	default:
		err = fmt.Errorf("unknown stage %q", os.Args[1])
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "stage:", err)
	os.Exit(1)
}
