//go:build linux

package process

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The test binary is also the launcher and the program that is started.
func TestMain(m *testing.M) {
	// The race detector lets a program wait for a second before it exits.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "exec-node":
			os.Exit(ExecNode())
		case "exec-service":
			os.Exit(ExecService(os.Args[2]))
		case "program":
			program(os.Args[2:])
			os.Exit(0)
		}
	}
	goleak.VerifyTestMain(m)
}

// program does as its arguments say, one after the other.
func program(args []string) {
	for _, a := range args {
		what, arg, _ := strings.Cut(a, "=")
		switch what {
		case "ignore-term":
			signal.Ignore(syscall.SIGTERM)
		case "exit":
			var n int
			fmt.Sscan(arg, &n)
			os.Exit(n)
		case "collect":
			collect()
		case "child":
			// Inherits the lock's descriptor, as a command that Zeek runs does.
			c := exec.Command("/proc/self/exe", "program", arg, "say=child", "wait")
			c.Stdout, c.Stderr = os.Stdout, os.Stderr
			lock := heldLock()
			c.ExtraFiles = []*os.File{lock}
			if err := c.Start(); err != nil {
				panic(err)
			}
		case "say":
			fmt.Println(arg)
		case "state":
			var nofile syscall.Rlimit
			_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &nofile)
			var set unix.CPUSet
			_ = unix.SchedGetaffinity(0, &set)
			nice, _ := unix.Getpriority(unix.PRIO_PROCESS, 0)
			umask := unix.Umask(0)
			wd, _ := os.Getwd()
			sid, _ := unix.Getsid(0)
			fmt.Printf("nofile=%d cpus=%d nice=%d umask=%o wd=%s leader=%t env=%q uid=%d fds=%s\n",
				nofile.Cur, set.Count(), 20-nice, umask, wd, sid == os.Getpid(), os.Environ(), os.Getuid(), openFDs())
		case "-U": // the mark; its value is skipped as unknown
		case "wait":
			for range runtime.NumCPU() { // a few threads
				go func() { runtime.LockOSThread(); select {} }()
			}
			ready()
			time.Sleep(time.Minute)
			os.Exit(3)
		}
	}
}

func ready() { fmt.Println("ready") }

// openFDs names the files behind the descriptors beyond the standard ones and those of Go's runtime.
func openFDs() string {
	entries, _ := os.ReadDir("/proc/self/fd")
	var out []string
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "/proc/") && !strings.HasPrefix(to, "/sys/") && e.Name() > "2" {
			out = append(out, to)
		}
	}
	return strings.Join(out, ",")
}

func heldLock() *os.File {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.HasSuffix(to, "node.lock") {
			var fd int
			fmt.Sscan(e.Name(), &fd)
			return os.NewFile(uintptr(fd), to)
		}
	}
	panic("no lock is held")
}

var launcher = []string{"/proc/self/exe", "exec-node"}

// eventually polls for what another process does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 5 s: %s", what)
}
