// Package scripts holds no code: its test carries out the scripts of testdata/scripts.
package scripts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/zeekrec/zeekrec/actuators/process"
	"github.com/zeekrec/zeekrec/cmd/internal/cli"
)

// The scripts are in testdata/scripts. Each has a work folder, a state folder, ports and the stand-in Zeek to
// itself. Besides the commands of testscript there are:
//
//	expand FILE…            replaces $NAME and ${NAME} in files by what the script's environment says
//	waitfor REGEXP CMD…     runs a command until its output matches, for two minutes
//	pids FILE               writes "CLUSTER/NODE PID" of all nodes that run to a file
//	killnode CLUSTER/NODE   kills a node with SIGKILL
func TestScripts(t *testing.T) {
	zeek := scriptZeek(t)
	testscript.Run(t, testscript.Params{
		Dir: "../../../../testdata/scripts",
		Setup: func(e *testscript.Env) error {
			base := scriptPorts(t)
			state := filepath.Join(e.WorkDir, "state")
			e.Vars = append(e.Vars,
				"ZEEK="+zeek, "ZEEKREC_ZEEK="+zeek, "ZEEKREC_STATE_DIR="+state, "ZEEKREC_ARCHIVE_DIR="+filepath.Join(e.WorkDir, "archive"), "ZEEKREC_NAME=agent-a", "ZEEKREC_SETTINGS=",
				"PORTS="+strconv.Itoa(base), "METRICS="+strconv.Itoa(base+30), "BROKER="+strconv.Itoa(base+60), "CONTROLLER="+strconv.Itoa(base+90), "SERVE="+strconv.Itoa(base+91), "NO_COLOR=1",
				"ZEEKREC_PROCESS_BACKEND=plain", // a machine with systemd is not to get units
				"GORACE=atexit_sleep_ms=0",      // else every command takes a second more under -race
			)
			e.Defer(func() { scriptEnd(t, e.WorkDir) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"expand": scriptExpand, "waitfor": scriptWaitFor, "pids": scriptPIDs, "killnode": scriptKill,
		},
	})
}

func TestMain(m *testing.M) {
	zeekrec := func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(ctx, stop)
		os.Exit(cli.Run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
	}
	testscript.Main(m, map[string]func(){
		"zeekrec": zeekrec,
		"exe":     zeekrec, // nodes begin as /proc/self/exe exec-node
	})
}

// scriptZeek builds the stand-in.
func scriptZeek(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "zeek")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../../../../testdata/zeek").CombinedOutput(); err != nil {
		t.Fatalf("cannot build the stand-in: %v\n%s", err, out)
	}
	return path
}

var scriptPortsTaken atomic.Int64

// scriptPorts finds 100 ports that nobody listens on now, and that no other script was given.
func scriptPorts(t *testing.T) int {
	t.Helper()
	for range 100 {
		base := 20000 + (os.Getpid()%50)*200 + int(scriptPortsTaken.Add(1))*100%10000
		free := true
		for _, p := range []int{0, 1, 2, 3, 30, 31, 32, 33, 34, 35, 60, 61, 90, 91} {
			l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(base+p))
			if free = err == nil; !free {
				break
			}
			_ = l.Close()
		}
		if free {
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

// scriptEnd kills what a script left running in its state folders.
func scriptEnd(t *testing.T, work string) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(work, "*", "clusters", "*", "nodes", "*", "running.json"))
	for _, f := range files {
		var r struct {
			Process process.Identity `json:"process"`
		}
		b, err := os.ReadFile(f)
		if err != nil || json.Unmarshal(b, &r) != nil || !process.Alive(r.Process) {
			continue
		}
		if h, err := process.Open(r.Process); err == nil {
			_ = h.Signal(syscall.SIGKILL)
			h.Close()
		}
	}
}

func scriptExpand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: expand FILE…")
	}
	for _, f := range args {
		text := os.Expand(ts.ReadFile(f), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(f), []byte(text), 0o644))
	}
}

func scriptWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: waitfor REGEXP COMMAND…")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var out string
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		if out, _ = scriptOutput(ts, args[1:]...); re.MatchString(out) {
			return
		}
		time.Sleep(50 * time.Millisecond) // between two looks
	}
	ts.Fatalf("%q did not come; lastly:\n%s", args[0], out)
}

// scriptOutput runs a command in the script's environment.
func scriptOutput(ts *testscript.TestScript, args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{
		"HOME", "PATH", "TMPDIR", "WORK", "ZEEK", "ZEEKREC_SERVER", "ZEEKREC_TOKEN_FILE", "ZEEKREC_ZEEK", "ZEEKREC_STATE_DIR", "ZEEKREC_ARCHIVE_DIR", "ZEEKREC_NAME", "ZEEKREC_SETTINGS", "NO_COLOR", "GOCOVERDIR", "GORACE",
	} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// scriptNodes asks for the status.
func scriptNodes(ts *testscript.TestScript) map[string]int {
	out, err := scriptOutput(ts, "zeekrec", "status", "--json")
	if err != nil {
		ts.Fatalf("zeekrec status: %v\n%s", err, out)
	}
	var s struct {
		Clusters []struct {
			Name      string
			Resources []struct {
				Name string
				PID  int
			}
		}
	}
	ts.Check(json.Unmarshal([]byte(out), &s))
	m := map[string]int{}
	for _, c := range s.Clusters {
		for _, r := range c.Resources {
			if r.PID != 0 {
				m[c.Name+"/"+r.Name] = r.PID
			}
		}
	}
	return m
}

func scriptPIDs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: pids FILE")
	}
	var b strings.Builder
	m := scriptNodes(ts)
	for _, key := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%s %d\n", key, m[key])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o644))
}

func scriptKill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: killnode CLUSTER/NODE")
	}
	pid, ok := scriptNodes(ts)[args[0]]
	if !ok {
		ts.Fatalf("%s does not run", args[0])
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		ts.Fatalf("kill: %v", err)
	}
}
