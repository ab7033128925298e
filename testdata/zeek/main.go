package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/zeekrec/zeekrec/testdata/zeek/script"
)

// release is the Zeek to pass for. The linker may set another, for tests in which
// Zeek is exchanged: go build -ldflags '-X main.release=8.1.0' ./testdata/zeek
var release = "8.2.2"

const (
	stateInitializing = "INITIALIZING [main]"
	stateRunning      = "RUNNING [run_loop]"
	stateSignalled    = "TERMINATING [sig_handler]"
	stateTerminating  = "TERMINATING [terminate_zeek]"
	stateTerminated   = "TERMINATED [atexit]"
	stateFatal        = "TERMINATED [fatal_error]"
)

func main() {
	// Hundreds run at once in a test: one thread's worth of work, a small heap.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(20)
	dieLikeC()
	os.Exit(run(context.Background(), os.Args, os.Getenv))
}

// run is a whole life of the process; it returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string) int {
	o, err := parseArgs(args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "ERROR: %v\nTry '%s --help' for more information.\n", err, args[0])
		return 1
	}
	if o.version {
		fmt.Printf("%s version %s\n", args[0], version())
		return 0
	}
	f, err := readFaults(getenv)
	if err != nil {
		fmt.Fprintf(os.Stderr, "ERROR: %v\n", err)
		return 1
	}
	status := statusFile(o.statusFile)
	status.set(stateInitializing)
	f.atStart(status)

	if len(o.pluginsWanted) > 0 {
		place := script.Prefix + "/base/init-bare.zeek, line 1: "
		fmt.Fprintf(os.Stderr, "error in %splugin %s is not available\nfatal error in %saborting after plugin errors\n", place, o.pluginsWanted[0], place)
		status.set(stateFatal)
		return 1
	}
	program, problem := script.Load(script.Options{
		Library: script.NewLibrary(getenv("ZEEKPATH")),
		Node:    getenv("CLUSTER_NODE"),
		Names:   o.scripts,
		Params:  o.params,
		Code:    o.code,
		Bare:    o.bare,
		Getenv:  getenv,
	})
	if problem == nil && program.Loaded("zeekrec-loads.zeek") && !o.parseOnly {
		for _, path := range program.Scripts() {
			fmt.Println("zeekrec-loads " + path)
		}
		return 0
	}
	switch {
	case problem != nil && (!o.help || strings.Contains(problem.Error(), "init-bare")):
		fmt.Fprintln(os.Stderr, problem)
		status.set(endOf(problem.Fatal))
		return 1
	case o.help:
		fmt.Print(usage(args[0], getenv))
		return 0
	case o.plugins:
		fmt.Println("Zeek::AF_Packet - Packet acquisition via AF_Packet (stand-in)")
		status.set(stateTerminated)
		return 0
	case o.parseOnly:
		status.set(stateTerminated)
		return 0
	}

	n := &node{options: o, reporter: newReporter(o), program: program, faults: f, status: status, getenv: getenv}
	err = n.live(ctx)
	if exit, ok := errors.AsType[exitStatus](err); ok {
		status.set(stateTerminated)
		return int(exit)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status.set(stateFatal)
		return 1
	}
	status.set(stateTerminated)
	return 0
}

// version is what follows "zeek version".
func version() string { return release + " (zeekrec stand-in, not Zeek)" }

// exitStatus is the error of a node that was told to end with a certain status.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func endOf(fatal bool) string {
	if fatal {
		return stateFatal
	}
	return stateTerminated
}

// statusFile is the argument of -U; empty: none.
type statusFile string

// set writes the state as Zeek does: in place, so that a reader can meet an empty
// file. A file that cannot be written is reported, and is no reason to stop.
func (f statusFile) set(state string) {
	if f == "" {
		return
	}
	if err := os.WriteFile(string(f), []byte(state+"\n"), 0o777); err != nil {
		word, _, _ := strings.Cut(state, " ")
		fmt.Fprintf(os.Stderr, "Failed to open process status file '%s': %d [%s]\n", f, errno(err), word)
	}
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
