package main

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dieLikeC gives signals that Go's runtime answers with a stack trace and status 2,
// or swallows, the effect that they have on a C++ program.
func dieLikeC() {
	for _, s := range []unix.Signal{unix.SIGSEGV, unix.SIGABRT, unix.SIGUSR1, unix.SIGUSR2} {
		// A struct sigaction of zeros is SIG_DFL with an empty mask.
		var action [32]byte
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	}
}

// crash dies of SIGSEGV, without a word.
func crash() {
	_ = unix.Kill(os.Getpid(), unix.SIGSEGV)
	select {}
}

// abort dies of SIGABRT, as a C++ program does of an exception that nobody catches.
func abort() {
	_ = unix.Kill(os.Getpid(), unix.SIGABRT)
	select {}
}
